"""The rows of a version: those of the dataset that it is made from, with the changes of its draft or of its curation,
in their order.

A row keeps its number and its ratings in every version, and its reference answer unless that is edited. Rows of another
dataset come after them, with the numbers that follow. Left out: another order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from django.db.models import Q, QuerySet

from training.data.rows import Row
from training.dialogue import Dialogue
from training.errors import BadData
from webapp.datasets.models import Curation, Dataset, DatasetText, Draft

_BATCH = 50  # rows may be megabytes long
_HEARTBEAT_SECONDS = 5
_Columns: TypeAlias = tuple[int, Dialogue, str, str, bool, dict[str, list[float]] | None, str]


def version_rows(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[tuple[int, Row]]:
    """Each row with its number.

    Raises:
        BadData: the dataset that the version is made from is gone.
    """
    curation = Curation.objects.select_related("base", "merged").filter(saved_as=dataset).first()
    if curation is not None:
        yield from _curated(curation, heartbeat)
        return
    draft = Draft.objects.select_related("base").filter(saved_as=dataset).first()
    if draft is None:
        raise BadData("The dataset that this version is made from no longer exists.", "Delete this version.")
    excluded = set(draft.excluded.values_list("number", flat=True))
    edited = set(draft.edited.values_list("number", flat=True))
    for number, prompt, chosen, rejected, undecided, ratings, reference in _rows(draft.base, heartbeat):
        if number in excluded:
            continue
        if number in edited:
            edit = draft.edited.get(number=number)
            prompt, chosen, rejected, reference = edit.prompt, edit.chosen, edit.rejected, edit.reference
        yield number, Row.of_json([prompt, chosen or None, rejected or None, undecided, ratings,
                                    reference or None])


def _curated(curation: Curation, heartbeat: Callable[[], None]) -> Iterator[tuple[int, Row]]:
    excluded = set(curation.excluded)
    last = 0
    for number, row in rows_of(curation.base, heartbeat):
        last = number
        if number not in excluded:
            yield number, row
    if not curation.rows_added:
        return
    if curation.merged is None:
        raise BadData("The dataset whose rows are added no longer exists.", "Delete this version.")
    for number, (_, row) in enumerate(rows_of(curation.merged, heartbeat), last + 1):
        yield number, row


def rows_of(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[tuple[int, Row]]:
    """The rows of a ready dataset in order, each with its number; `heartbeat` is called every few seconds."""
    for number, prompt, chosen, rejected, undecided, ratings, reference in _rows(dataset, heartbeat):
        yield number, Row.of_json([prompt, chosen or None, rejected or None, undecided, ratings, reference or None])


def _rows(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[_Columns]:
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    columns = texts.values_list("row__number", "prompt", "chosen", "rejected", "undecided", "row__rated__ratings",
                                "reference")
    last, beat_at = 0, time.monotonic()
    while batch := list(columns.filter(row__number__gt=last)[:_BATCH]):
        yield from batch
        last = batch[-1][0]
        if time.monotonic() - beat_at > _HEARTBEAT_SECONDS:
            heartbeat()
            beat_at = time.monotonic()


def family_of(dataset: Dataset) -> QuerySet[Dataset]:
    """All versions of the dataset, newest first, itself among them."""
    first = dataset.first_version
    return Dataset.objects.filter(Q(pk=first) | Q(family=first), team=dataset.team_id).order_by("-version")
