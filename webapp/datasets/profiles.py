"""The profile of a dataset: asked for by a person, computed once by a worker, then read with one query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from django.db import transaction
from django.utils import timezone

from training.config import Data
from training.data.profile import Profile
from training.data.rows import Row
from webapp.accounts.models import User
from webapp.celery import JOBS, send
from webapp.datasets.computing import compute, lengths_in
from webapp.datasets.drafts import lock
from webapp.datasets.models import Dataset, DatasetProfile
from webapp.datasets.versions import rows_of

HELD_OUT: int = Data.model_fields["held_out"].default
_BATCH = 50  # rows may be megabytes long


@transaction.atomic
def profile_start(*, dataset: Dataset, user: User, unit: str) -> DatasetProfile:
    """Have the profile computed, with lengths in this unit, in place of one that is there. Nothing happens where one in
    this unit is being computed."""
    lock(dataset)
    present = DatasetProfile.objects.filter(dataset=dataset).first()
    if present is not None and present.status == DatasetProfile.Status.COMPUTING and present.unit == unit:
        return present
    profile, _ = DatasetProfile.objects.update_or_create(dataset=dataset, defaults={
        "status": DatasetProfile.Status.COMPUTING, "error": "", "claim": "", "attempts": 0, "rows_read": 0,
        "unit": unit, "heartbeat_at": timezone.now(), "by": user, "at": timezone.now(), "result": {}})
    send(DatasetProfile.TASK, profile.pk, queue=JOBS)
    return profile


def profile_compute(*, profile_id: int) -> None:
    """Compute it; called by the worker."""
    compute(DatasetProfile, profile_id, _computed)


def _computed(row: DatasetProfile, heartbeat: Callable[[], None]) -> dict[str, Any]:
    profile = Profile(lengths_in(row.unit), row.dataset.responses_expected)
    for batch in batches(rows_of(row.dataset, heartbeat)):
        profile.add(batch)
    heartbeat()
    return {"result": profile.result(HELD_OUT), "rows_read": profile.rows}


def batches(rows: Iterable[tuple[int, Row]]) -> Iterator[list[tuple[int, Row]]]:
    """The rows, _BATCH at a time."""
    remaining = iter(rows)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
