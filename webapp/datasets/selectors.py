"""What pages read about data sets. Texts are fetched for the rows of one page only."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

from django.core.paginator import Page, Paginator
from django.db.models import Count, QuerySet

from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, RejectedRow

ROWS_PER_PAGE, BAD_ROWS_PER_PAGE = 25, 100
SHOWN_REASONS = 20
SHOWN_CHARACTERS, SHOWN_MESSAGES = 20_000, 50  # of a text and of a prompt, on a page; a download has all of it

_PLACE_IN_JSON = re.compile(r": line \d+ column \d+ \(char \d+\)")


class _CountedPages(Paginator):
    """A paginator that takes the count from the import instead of counting the rows again."""

    def __init__(self, rows: QuerySet[Any], per_page: int, count: int) -> None:
        super().__init__(rows, per_page)
        self.__dict__["count"] = count  # fills the cached property


def dataset_list(*, team: Team) -> QuerySet[Dataset]:
    datasets = Dataset.objects.of(team).select_related("created_by").annotate(run_count=Count("runs"))
    return cast("QuerySet[Dataset]", datasets.order_by("-pk"))


def rows_page(*, dataset: Dataset, page: str | None) -> Page[DatasetRow]:
    """The rows of one page. Rows are cut one at a time: 25 of the longest would take 75 MB, and their page more."""
    rows = DatasetRow.objects.filter(dataset=dataset).select_related("text").order_by("number")
    page_of_rows = _CountedPages(rows, ROWS_PER_PAGE, dataset.rows_good).get_page(page)
    of_page = cast("QuerySet[DatasetRow]", page_of_rows.object_list)
    page_of_rows.object_list = [_cut_row(row) for row in of_page.iterator(chunk_size=1)]
    return page_of_rows


def _cut_row(row: DatasetRow) -> DatasetRow:
    text = row.text
    text.prompt = [message | {"content": _cut(message["content"])} for message in text.prompt[-SHOWN_MESSAGES:]]
    text.chosen, text.rejected = _cut(text.chosen), _cut(text.rejected)
    return row


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]} ... (cut here; the download has the full text)"


def rejected_page(*, dataset: Dataset, page: str | None) -> Page[RejectedRow]:
    return Paginator(dataset.rejected_rows.order_by("number"), BAD_ROWS_PER_PAGE).get_page(page)


def rejected_reasons(*, dataset: Dataset) -> list[tuple[str, int]]:
    """Why rows could not be used, with the number of rows, most first. Reasons that differ only in the place of an
    error count as one."""
    counts: Counter[str] = Counter()
    rows = dataset.rejected_rows.order_by().values_list("reason").annotate(rows=Count("pk"))
    for reason, count in rows:
        counts[_PLACE_IN_JSON.sub("", reason)] += count
    return counts.most_common(SHOWN_REASONS)


async def as_jsonl(*, dataset: Dataset) -> AsyncIterator[bytes]:
    """All rows as JSON lines; the import and `python -m training run` read them back to the same rows."""
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    lines: list[bytes] = []
    async for text in texts.aiterator(chunk_size=25):  # rows may be megabytes long
        lines.append(json.dumps(_as_record(text), ensure_ascii=False).encode() + b"\n")
        if len(lines) == 500 or len(lines[-1]) > 100_000:
            yield b"".join(lines)
            lines = []
    yield b"".join(lines)


def _as_record(text: DatasetText) -> dict[str, Any]:
    record: dict[str, Any] = {"prompt": text.prompt}
    if text.rejected:
        return record | {"chosen": text.chosen, "rejected": text.rejected}
    return record | {"response": text.chosen} if text.chosen else record
