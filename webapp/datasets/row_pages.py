"""The rows of a data set as pages show them: those that a search finds, texts cut, a page at a time.

A search reads the numbers of its rows once, the first MOST_FOUND of them, and the texts of one page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from training.dialogue import Dialogue
from webapp.datasets.models import Dataset, DatasetText, RowWords
from webapp.datasets.searching import QUERY_CHARACTERS, containing, query_words

ROWS_PER_PAGE = 25
MOST_FOUND = 10_000  # rows that a search counts and pages through
SHOWN_CHARACTERS, SHOWN_MESSAGES = 20_000, 50  # of a text and of a prompt, on a page; a download has all of it


@dataclass(frozen=True)
class RowFilter:
    """Which rows a page shows, as its address says it."""

    q: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> RowFilter:
        return cls(query.get("q", "").strip()[:QUERY_CHARACTERS])

    @property
    def words(self) -> list[str]:
        return query_words(self.q)

    @property
    def is_active(self) -> bool:
        return bool(self.words)

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        return urlencode({"q": self.q} if self.q else {})


@dataclass
class ShownRow:
    """A row on a page, its texts cut."""

    number: int
    prompt: Dialogue
    chosen: str
    rejected: str


class _CountedPages(Paginator):
    """A paginator that is told the count instead of counting the rows again."""

    def __init__(self, rows: Any, per_page: int, count: int) -> None:
        super().__init__(rows, per_page)
        self.__dict__["count"] = count  # fills the cached property


@dataclass
class RowPage:
    """A page of rows, and of how many that match."""

    page: Page[ShownRow]
    found: int
    has_more: bool = False  # more than MOST_FOUND match


def matching(dataset: Dataset, chosen: RowFilter) -> QuerySet[RowWords]:
    """The rows that a filter finds, in order, without their texts."""
    return RowWords.objects.filter(containing(chosen.words), dataset=dataset).order_by("number")


def row_page(*, dataset: Dataset, chosen: RowFilter, page: str | None) -> RowPage:
    """One page of the rows that the filter finds; of all rows where it is not active."""
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    if not chosen.is_active:
        of_all = _CountedPages(texts, ROWS_PER_PAGE, dataset.rows_good).get_page(page)
        shown = RowPage(cast("Page[ShownRow]", of_all), dataset.rows_good)
        on_page = cast("QuerySet[DatasetText]", of_all.object_list)
    else:
        numbers = list(matching(dataset, chosen).values_list("number", flat=True)[:MOST_FOUND + 1])
        found = min(len(numbers), MOST_FOUND)
        of_found = _CountedPages(numbers[:MOST_FOUND], ROWS_PER_PAGE, found).get_page(page)
        shown = RowPage(cast("Page[ShownRow]", of_found), found, len(numbers) > MOST_FOUND)
        on_page = texts.filter(row__number__in=list(of_found.object_list))
    shown.page.object_list = _shown(on_page)
    return shown


def _shown(texts: QuerySet[DatasetText]) -> list[ShownRow]:
    """Rows are cut one at a time: 25 of the longest would take 75 MB, and their page more."""
    columns = texts.values_list("row__number", "prompt", "chosen", "rejected")
    return [ShownRow(number, _cut_prompt(prompt), _cut(chosen), _cut(rejected))
            for number, prompt, chosen, rejected in columns.iterator(chunk_size=1)]


def _cut_prompt(prompt: Dialogue) -> Dialogue:
    return [{"role": message["role"], "content": _cut(message["content"])} for message in prompt[-SHOWN_MESSAGES:]]


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]} ... (cut here; the download has the full text)"
