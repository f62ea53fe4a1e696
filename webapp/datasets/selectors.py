"""What pages read about datasets and their bad rows, and the rows of a download."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, QuerySet

from training.data.ratings import COLUMN
from training.data.reference import ROLE
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetText, RejectedRow
from webapp.datasets.versions import family_of

BAD_ROWS_PER_PAGE = 100
SHOWN_REASONS, SHOWN_VERSIONS = 20, 50

_PLACE_IN_JSON = re.compile(r": line \d+ column \d+ \(char \d+\)")


def dataset_list(*, team: Team) -> QuerySet[Dataset]:
    datasets = Dataset.objects.of(team).select_related("created_by", "made_from").annotate(run_count=Count("runs"))
    return cast("QuerySet[Dataset]", datasets.order_by("-pk"))


def version_list(*, dataset: Dataset) -> list[Dataset]:
    """All versions of a dataset that is not the only one, newest first."""
    versions = list(family_of(dataset).select_related("created_by")[:SHOWN_VERSIONS])
    return versions if len(versions) > 1 or dataset.is_version else []


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
    texts = DatasetText.objects.filter(row__dataset=dataset).annotate(
        ratings=F("row__rated__ratings")).order_by("row__number")
    lines: list[bytes] = []
    async for text in texts.aiterator(chunk_size=25):  # rows may be megabytes long
        lines.append(json.dumps(_as_record(text), ensure_ascii=False).encode() + b"\n")
        if len(lines) == 500 or len(lines[-1]) > 100_000:
            yield b"".join(lines)
            lines = []
    yield b"".join(lines)


def _as_record(text: DatasetText) -> dict[str, Any]:
    record: dict[str, Any] = {"prompt": text.prompt}
    ratings = text.ratings  # type: ignore[attr-defined]  # annotated in as_jsonl
    extra = {COLUMN: ratings} if ratings else {}
    extra |= {ROLE: text.reference} if text.reference else {}
    if text.rejected and text.undecided:
        return record | {"response_a": text.chosen, "response_b": text.rejected} | extra
    if text.rejected:
        return record | {"chosen": text.chosen, "rejected": text.rejected} | extra
    return record | ({"response": text.chosen} if text.chosen else {}) | extra
