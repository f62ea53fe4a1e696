"""The rows of a version: those of the data set that it is made from, with the changes of its draft, in their order.

A row keeps its number and its ratings in every version. Left out: new rows, and another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from django.db.models import Q, QuerySet

from training.data.rows import Row
from training.dialogue import Dialogue
from training.errors import BadData
from webapp.datasets.models import Dataset, DatasetText, Draft

_BATCH = 50  # rows may be megabytes long
_HEARTBEAT_SECONDS = 5
_Columns: TypeAlias = tuple[int, Dialogue, str, str, bool, dict[str, list[float]] | None]


def version_rows(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[tuple[int, Row]]:
    """Each row with its number.

    Raises:
        BadData: the data set that the version is made from is gone.
    """
    draft = Draft.objects.select_related("base").filter(saved_as=dataset).first()
    if draft is None:
        raise BadData("The data set that this version is made from no longer exists.", "Delete this version.")
    excluded = set(draft.excluded.values_list("number", flat=True))
    edited = set(draft.edited.values_list("number", flat=True))
    for number, prompt, chosen, rejected, undecided, ratings in _rows(draft.base, heartbeat):
        if number in excluded:
            continue
        if number in edited:
            edit = draft.edited.get(number=number)
            prompt, chosen, rejected = edit.prompt, edit.chosen, edit.rejected
        yield number, Row.of_json([prompt, chosen or None, rejected or None, undecided, ratings])


def _rows(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[_Columns]:
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    columns = texts.values_list("row__number", "prompt", "chosen", "rejected", "undecided", "row__rated__ratings")
    last, beat_at = 0, time.monotonic()
    while batch := list(columns.filter(row__number__gt=last)[:_BATCH]):
        yield from batch
        last = batch[-1][0]
        if time.monotonic() - beat_at > _HEARTBEAT_SECONDS:
            heartbeat()
            beat_at = time.monotonic()


def family_of(dataset: Dataset) -> QuerySet[Dataset]:
    """All versions of the data set, newest first, itself among them."""
    first = dataset.first_version
    return Dataset.objects.filter(Q(pk=first) | Q(family=first), team=dataset.team_id).order_by("-version")
