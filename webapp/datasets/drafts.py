"""Changes to the draft of a dataset's next version: exclude rows, put them back, edit texts, discard, save.

The rows of a ready dataset stay as they are. Its draft belongs to the team; each change locks the dataset, so that a
draft that is being saved is complete, and one that is saved never changes.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Max, QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone

from training.data.rows import Row
from webapp.accounts.models import User
from webapp.celery import JOBS, send
from webapp.datasets.models import Dataset, DatasetText, Draft, EditedRow, ExcludedRow
from webapp.datasets.searching import words_of
from webapp.datasets.versions import family_of


class DraftRefused(Exception):
    """Why the draft cannot be saved, with the way out."""


class EditedMeanwhile(Exception):
    """Somebody else edited the row after the form was opened; `edit` is what they wrote, None if they undid it."""

    def __init__(self, edit: EditedRow | None) -> None:
        super().__init__()
        self.edit = edit


def draft_of(dataset: Dataset) -> Draft | None:
    """The open draft of a dataset."""
    return Draft.objects.select_related("changed_by").filter(base=dataset, saved_as=None).first()


@transaction.atomic
def rows_exclude(*, dataset: Dataset, user: User, rows: QuerySet[Any]) -> int:
    """Exclude these rows of the dataset, given by their `number`. Returns how many were not excluded before."""
    draft = _locked_draft(dataset, user)
    before = draft.excluded.count()
    _insert_excluded(draft, user, rows)
    after = draft.excluded.count()
    _delete_if_empty(draft)
    return after - before


def _insert_excluded(draft: Draft, user: User, rows: QuerySet[Any]) -> None:
    """In one statement in the database: 100,000 rows as objects take ten seconds, in which nobody else could write."""
    try:
        select, parameters = rows.order_by().values_list("number").query.sql_with_params()
    except EmptyResultSet:  # Django knows that no row matches
        return
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    table = connection.ops.quote_name(ExcludedRow._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(  # WHERE tells SQLite that ON belongs to INSERT
            f"INSERT INTO {table} (number, draft_id, by_id, at) SELECT found.number, %s, %s, %s FROM ({select}) "
            "AS found WHERE true ON CONFLICT DO NOTHING", (draft.pk, user.pk, now, *parameters))


@transaction.atomic
def rows_put_back(*, dataset: Dataset, user: User, rows: QuerySet[Any]) -> int:
    """Take rows, given by their `number`, back into the next version. Returns how many were excluded."""
    draft = _locked_draft(dataset, user)
    changed, _ = draft.excluded.filter(number__in=rows.order_by().values("number")).delete()
    _delete_if_empty(draft)
    return changed


@transaction.atomic
def row_edit(*, dataset: Dataset, user: User, number: int, row: Row, seen: str) -> bool:
    """Give a row other texts. Returns False if they are those of the dataset, so that the row is no longer edited.

    Args:
        seen: `state` of the edit that the person saw in the form; empty if they saw the dataset's own texts.

    Raises:
        EditedMeanwhile: somebody else has edited the row since.
    """
    draft = _locked_draft(dataset, user)
    present = draft.edited.select_related("by").filter(number=number).first()
    if (present.state if present else "") != seen:
        raise EditedMeanwhile(present)
    original = get_object_or_404(DatasetText, row__dataset=dataset, row__number=number)
    texts = {"prompt": row.prompt, "chosen": row.chosen or "", "rejected": row.rejected or "",
             "reference": row.reference or ""}
    if texts == {name: getattr(original, name) for name in texts}:
        draft.edited.filter(number=number).delete()
        _delete_if_empty(draft)
        return False
    EditedRow.objects.update_or_create(draft=draft, number=number, defaults=texts | {
        "words": words_of(row), "by": user, "at": timezone.now()})
    return True


@transaction.atomic
def row_edit_undo(*, dataset: Dataset, user: User, number: int) -> None:
    """Give a row the dataset's own texts again."""
    draft = _locked_draft(dataset, user)
    draft.edited.filter(number=number).delete()
    _delete_if_empty(draft)


@transaction.atomic
def draft_discard(*, dataset: Dataset) -> None:
    """Forget every change of the open draft."""
    lock(dataset)
    draft = Draft.objects.filter(base=dataset, saved_as=None)
    changes_delete(draft)
    draft.delete()


@transaction.atomic
def draft_save(*, dataset: Dataset, user: User) -> Dataset:
    """Make the next version: its row at once, its rows by a worker.

    Raises:
        DraftRefused: nothing is changed, or no row would be left.
    """
    lock(dataset)
    draft = draft_of(dataset)
    if draft is None or not draft.excluded_count + draft.edited_count:
        raise DraftRefused("Nothing is excluded or edited, so a new version would be the same. Change a row first.")
    if draft.excluded_count >= dataset.rows_good:
        raise DraftRefused(f"All {dataset.rows_good:,} rows are excluded. Put at least one back, then save.")
    version = version_create(dataset=dataset, user=user, rows_excluded=draft.excluded_count,
                             rows_edited=draft.edited_count)
    Draft.objects.filter(pk=draft.pk).update(saved_as=version)
    return version


def version_create(*, dataset: Dataset, user: User, **differs: Any) -> Dataset:
    """The next version of a locked dataset, whose rows a worker makes.

    Args:
        differs: what it says of how it was made: `rows_excluded`, `rows_edited`, `rows_added`, `made_by`.
    """
    family = list(family_of(dataset).select_for_update().values_list("pk", flat=True))  # one number, one version
    last = Dataset.objects.filter(pk__in=family).aggregate(last=Max("version"))["last"]
    version = Dataset.objects.create(
        team=dataset.team, name=dataset.name, kind=dataset.kind, status=Dataset.Status.IMPORTING, created_by=user,
        version=last + 1, family=dataset.first_version, made_from=dataset, made_from_version=dataset.version,
        heartbeat_at=timezone.now(), **differs)
    send("workers.import_dataset", version.pk, queue=JOBS)
    return version


def changes_delete(drafts: QuerySet[Draft]) -> None:
    """Delete what drafts hold in two statements, however many rows they name."""
    for model in (ExcludedRow, EditedRow):
        changes = model._default_manager.filter(draft__in=drafts)
        changes._raw_delete(changes.db)


def lock(dataset: Dataset) -> None:
    """Hold the dataset, which must be ready, until the transaction ends."""
    get_object_or_404(Dataset.objects.select_for_update(), pk=dataset.pk, status=Dataset.Status.READY)


def _locked_draft(dataset: Dataset, user: User) -> Draft:
    """The open draft, made if there is none, as changed by this person now."""
    lock(dataset)
    draft, _ = Draft.objects.update_or_create(base=dataset, saved_as=None, defaults={
        "changed_by": user, "changed_at": timezone.now()})
    return draft


def _delete_if_empty(draft: Draft) -> None:
    if not draft.excluded.exists() and not draft.edited.exists():
        draft.delete()
