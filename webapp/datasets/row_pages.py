"""The rows of a dataset as pages show them: those that a search finds, texts cut, a page at a time, changes marked.

A search reads the numbers of its rows once, the first MOST_FOUND of them, and the texts of one page. An edited row is
shown, and found, by its new texts and by those that it has in the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet

from training.data.ratings import Ratings
from training.dialogue import Dialogue
from webapp.datasets.models import Dataset, DatasetText, Draft, EditedRow, ExcludedRow, RowWords
from webapp.datasets.searching import QUERY_CHARACTERS, containing, query_words

ROWS_PER_PAGE = 25
MOST_FOUND = 10_000  # rows that a search counts and pages through
SHOWN_CHARACTERS, SHOWN_MESSAGES = 20_000, 50  # of a text and of a prompt, on a page; a download has all of it


CHANGES = {"any": "changed rows", "excluded": "excluded rows", "edited": "edited rows"}


@dataclass(frozen=True)
class RowFilter:
    """Which rows a page shows, as its address says it."""

    q: str = ""
    changed: str = ""  # one of CHANGES, or empty: all rows

    @classmethod
    def of(cls, query: Mapping[str, str]) -> RowFilter:
        changed = query.get("changed", "")
        return cls(query.get("q", "").strip()[:QUERY_CHARACTERS], changed if changed in CHANGES else "")

    @property
    def words(self) -> list[str]:
        return query_words(self.q)

    @property
    def is_active(self) -> bool:
        return bool(self.words or self.changed)

    @property
    def changed_title(self) -> str:
        return CHANGES.get(self.changed, "")

    @property
    def in_words(self) -> str:
        """'that match “cat” among the excluded rows'."""
        matching_words = f"that match “{self.q}”" if self.words else ""
        return " ".join(filter(None, [matching_words, f"among the {self.changed_title}" if self.changed else ""]))

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        return urlencode({name: value for name, value in (("q", self.q), ("changed", self.changed)) if value})


@dataclass
class ShownRow:
    """A row on a page, its texts cut; `before` has the dataset's own texts where they are edited."""

    number: int
    prompt: Dialogue
    chosen: str
    rejected: str
    undecided: bool = False
    ratings: Ratings | None = None
    reference: str = ""
    excluded: ExcludedRow | None = None
    edited: EditedRow | None = None
    before: ShownRow | None = None


class CountedPages(Paginator):
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


def matching(dataset: Dataset, chosen: RowFilter, draft: Draft | None) -> QuerySet[RowWords]:
    """The rows that a filter finds, in order, without their texts."""
    rows = RowWords.objects.filter(dataset=dataset).order_by("number")
    excluded = ExcludedRow.objects.filter(draft=draft).order_by() if draft else ExcludedRow.objects.none()
    edited = EditedRow.objects.filter(draft=draft).order_by() if draft else EditedRow.objects.none()
    has_words = containing(chosen.words)
    if draft:
        has_words |= Q(number__in=edited.filter(containing(chosen.words)).values("number"))
    among = Q()
    if chosen.changed in ("excluded", "any"):
        among |= Q(number__in=excluded.values("number"))
    if chosen.changed in ("edited", "any"):
        among |= Q(number__in=edited.values("number"))
    rows = rows.filter(among)
    return rows.filter(has_words) if chosen.words else rows


def row_page(*, dataset: Dataset, chosen: RowFilter, page: str | None, draft: Draft | None) -> RowPage:
    """One page of the rows that the filter finds; of all rows where it is not active."""
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    if not chosen.is_active:
        of_all = CountedPages(texts, ROWS_PER_PAGE, dataset.rows_good).get_page(page)
        shown = RowPage(cast("Page[ShownRow]", of_all), dataset.rows_good)
        on_page = cast("QuerySet[DatasetText]", of_all.object_list)
    else:
        numbers = list(matching(dataset, chosen, draft).values_list("number", flat=True)[:MOST_FOUND + 1])
        count = min(len(numbers), MOST_FOUND)
        of_found: Page[int] = CountedPages(numbers[:MOST_FOUND], ROWS_PER_PAGE, count).get_page(page)
        shown = RowPage(cast("Page[ShownRow]", of_found), count, len(numbers) > MOST_FOUND)
        on_page = texts.filter(row__number__in=list(of_found.object_list))
    rows = shown_rows(on_page)
    shown.page.object_list = _marked(rows, draft) if draft else rows
    return shown


def _marked(rows: list[ShownRow], draft: Draft) -> list[ShownRow]:
    """The rows with the changes of the draft."""
    numbers = [row.number for row in rows]
    excluded = {change.number: change for change in draft.excluded.select_related("by").filter(number__in=numbers)}
    edits = draft.edited.select_related("by").defer("words").filter(number__in=numbers)
    marked = {row.number: replace(row, excluded=excluded.get(row.number)) for row in rows}
    for edit in edits.iterator(chunk_size=1):
        row = marked[edit.number]
        marked[edit.number] = ShownRow(edit.number, _cut_prompt(edit.prompt), _cut(edit.chosen), _cut(edit.rejected),
                                       row.undecided, row.ratings, _cut(edit.reference), row.excluded, edit,
                                       before=row)
    return list(marked.values())


def shown_rows(texts: QuerySet[DatasetText]) -> list[ShownRow]:
    """Rows are cut one at a time: 25 of the longest would take 75 MB, and their page more."""
    columns = texts.values_list("row__number", "prompt", "chosen", "rejected", "undecided", "row__rated__ratings",
                                "reference")
    return [ShownRow(number, _cut_prompt(prompt), _cut(chosen), _cut(rejected), undecided, ratings,
                     _cut(reference))
            for number, prompt, chosen, rejected, undecided, ratings, reference in columns.iterator(chunk_size=1)]


def _cut_prompt(prompt: Dialogue) -> Dialogue:
    return [{"role": message["role"], "content": _cut(message["content"])} for message in prompt[-SHOWN_MESSAGES:]]


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]} ... (cut here; the download has the full text)"
