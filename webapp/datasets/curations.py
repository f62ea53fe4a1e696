"""A rule on a dataset's rows: previewed by a worker, then saved as the next version, or replaced by another rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from training.errors import BadData
from webapp.accounts.models import User
from webapp.celery import JOBS, send
from webapp.datasets.computing import compute
from webapp.datasets.drafts import lock, version_create
from webapp.datasets.models import Curation, Dataset
from webapp.datasets.rules import Rule, excluded_rows, sentence_of


class CurationRefused(Exception):
    """Why no version is made, with the way out."""


def curation_of(dataset: Dataset) -> Curation | None:
    """The rule that is not saved yet, without the numbers of its rows."""
    return Curation.objects.defer("excluded").select_related("by", "base", "merged").filter(
        base=dataset, saved_as=None).first()


def mergeable(dataset: Dataset) -> QuerySet[Dataset]:
    """Ready datasets of the team whose rows can be added: of the same kind, or pairs too where these are pairs."""
    kinds = [Dataset.Kind.PAIRS, Dataset.Kind.UNDECIDED] if dataset.has_pairs else [dataset.kind]
    return Dataset.objects.filter(team=dataset.team_id, status=Dataset.Status.READY, kind__in=kinds).exclude(
        pk=dataset.pk).order_by("-pk")


@transaction.atomic
def curation_start(*, dataset: Dataset, user: User, rule: Rule, unit: str = "words",
                   merged: Dataset | None = None) -> Curation:
    """Have a worker count what the rule leaves. A rule that was not saved is forgotten."""
    lock(dataset)
    Curation.objects.filter(base=dataset, saved_as=None).delete()
    curation = Curation.objects.create(base=dataset, by=user, rule=rule, unit=unit, merged=merged)
    send(Curation.TASK, curation.pk, queue=JOBS)
    return curation


def curation_compute(*, curation_id: int) -> None:
    """Find the rows that it drops; called by the worker."""
    compute(Curation, curation_id, _computed)


def _computed(curation: Curation, heartbeat: Callable[[], None]) -> dict[str, Any]:
    is_merge = curation.rule["kind"] == "merge"
    if is_merge and (curation.merged is None or curation.merged.status != Dataset.Status.READY):
        raise BadData("The dataset whose rows were to be added no longer exists.", "Choose another.")
    excluded = excluded_rows(curation, heartbeat)
    heartbeat()
    return {"excluded": excluded, "rows_kept": curation.base.rows_good - len(excluded),
            "rows_added": curation.merged.rows_good if curation.merged else 0,
            "sentence": sentence_of(curation, len(excluded))[:500]}


@transaction.atomic
def curation_save(*, dataset: Dataset, user: User, seen: int) -> Dataset:
    """Make the version that the preview described: its row at once, its rows by a worker.

    Args:
        seen: the key of the curation whose preview the person saw.

    Raises:
        CurationRefused: the preview is another by now or not ready, nothing would change, or no row would be left.
    """
    lock(dataset)
    curation = Curation.objects.select_related("merged", "base").filter(base=dataset, saved_as=None, pk=seen).first()
    if curation is None:
        raise CurationRefused("This preview was replaced or saved by somebody of your team. Look at the one below.")
    if curation.status != Curation.Status.DONE:
        raise CurationRefused("The preview is not ready yet. Wait until it says how many rows stay.")
    if not curation.excluded and not curation.rows_added:
        raise CurationRefused("Every row stays, so a new version would be the same. Choose another rule.")
    if not curation.rows_kept + curation.rows_added:
        raise CurationRefused("No row would be left. Choose a rule that drops fewer rows.")
    added = Dataset.objects.select_for_update(of=("self",)).filter(  # held, so that nobody deletes it meanwhile
        merges=curation, team=dataset.team_id, status=Dataset.Status.READY).first()
    if curation.rows_added and added is None:
        raise CurationRefused("The dataset whose rows were to be added no longer exists. Choose another.")
    version = version_create(dataset=dataset, user=user, rows_excluded=len(curation.excluded),
                             rows_added=curation.rows_added, made_by=curation.sentence)
    Curation.objects.filter(pk=curation.pk).update(saved_as=version)
    return version


@transaction.atomic
def curation_discard(*, dataset: Dataset) -> None:
    """Forget the rule that is not saved."""
    lock(dataset)
    Curation.objects.filter(base=dataset, saved_as=None).delete()
