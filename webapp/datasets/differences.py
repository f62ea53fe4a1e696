"""Which rows of a version differ from those of the dataset that it is made from: dropped, edited, added."""

from __future__ import annotations

from typing import Any, cast

from django.core.paginator import Page
from django.db.models import Exists, OuterRef, QuerySet

from webapp.datasets.models import Dataset, DatasetRow, DatasetText, EditedRow
from webapp.datasets.row_pages import ROWS_PER_PAGE, CountedPages, ShownRow, shown_rows

DIFFERENCES = {"dropped": "Dropped", "edited": "Edited", "added": "Added"}


def difference_page(*, version: Dataset, which: str, count: int, page: str | None) -> Page[ShownRow] | None:
    """One page of the rows that differ in a way; edited ones with `before`. None: what it is made from is deleted, so
    its rows cannot be compared.

    Args:
        which: a key of DIFFERENCES.
        count: how many rows differ so, as the version says.
    """
    before = version.made_from
    if before is None:
        return None
    rows = CountedPages(_numbers(version, before, which), ROWS_PER_PAGE, count).get_page(page)
    numbers = list(cast("QuerySet[Any]", rows.object_list))
    shown = _texts(before if which == "dropped" else version, numbers)
    if which == "edited":
        originals = {row.number: row for row in _texts(before, numbers)}
        for row in shown:
            row.before = originals.get(row.number)
    rows.object_list = shown
    return cast("Page[ShownRow]", rows)


def _texts(dataset: Dataset, numbers: list[int]) -> list[ShownRow]:
    return shown_rows(DatasetText.objects.filter(row__dataset=dataset, row__number__in=numbers).order_by("row__number"))


def _numbers(version: Dataset, before: Dataset, which: str) -> QuerySet[Any, int]:
    if which == "edited":
        in_version = DatasetRow.objects.filter(dataset=version, number=OuterRef("number"))
        edited = EditedRow.objects.filter(Exists(in_version), draft__saved_as=version)
        return edited.order_by("number").values_list("number", flat=True)
    here, there = (before, version) if which == "dropped" else (version, before)
    counterpart = DatasetRow.objects.filter(dataset=there, number=OuterRef("number"))
    return DatasetRow.objects.filter(~Exists(counterpart), dataset=here).order_by("number").values_list(
        "number", flat=True)
