"""Changes to datasets: uploading, importing from the hub, choosing columns, renaming, deleting."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training.data.records import SUFFIXES
from training.text import storable
from webapp.accounts.models import Team, User
from webapp.celery import JOBS, send
from webapp.datasets import importing
from webapp.datasets.drafts import changes_delete
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, Draft, RowRatings, RowWords


class DatasetInUse(Exception):
    """Runs were started from the dataset, or a version is being made from it; the message says which."""


def dataset_upload(*, team: Team, user: User, name: str, file: UploadedFile) -> Dataset:
    """Store an uploaded file under a random name in the team's folder; the user chooses its columns next."""
    filename = str(file.name)
    suffix = next(ending for ending in SUFFIXES if filename.lower().endswith(ending))
    upload = f"{team.pk}/{secrets.token_hex(16)}{suffix}"
    path = settings.UPLOADS / upload
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as out:
        for chunk in file.chunks():
            out.write(chunk)
    aside.rename(path)
    return Dataset.objects.create(team=team, name=name, filename=storable(filename)[-300:], upload=upload,
                                  created_by=user)


@transaction.atomic
def dataset_from_hub(*, team: Team, user: User, name: str, hub_id: str, split: str) -> Dataset:
    """Import a dataset of the hub; its columns are recognised by the worker, which has the network and the time."""
    dataset = Dataset.objects.create(team=team, name=name, hub_id=hub_id, split=split, created_by=user)
    dataset_import_start(dataset=dataset, columns={})
    return dataset


@transaction.atomic
def dataset_import_start(*, dataset: Dataset, columns: Mapping[str, str]) -> bool:
    """Start the import, or restart a stuck one from the beginning. Returns False if the rows are already in use."""
    changed = (Dataset.objects.filter(pk=dataset.pk).exclude(status=Dataset.Status.READY)
               .update(status=Dataset.Status.IMPORTING, columns=dict(columns), error="", digest="", rows_read=0,
                       rows_good=0, rows_bad=0, claim="", attempts=0, heartbeat_at=timezone.now()))
    if changed:
        _rows_delete(dataset)
        send("workers.import_dataset", dataset.pk, queue=JOBS)
    return bool(changed)


def dataset_import(*, dataset_id: int) -> None:
    """Read every row into the database; called by the worker. It continues where an earlier attempt stopped."""
    dataset = importing.claim(dataset_id)
    if dataset:
        importing.run(dataset)


def imports_requeue() -> None:
    """Send again each import that has no worker because its message or its worker was lost. Called by every worker."""
    for pk in importing.without_heartbeat().values_list("pk", flat=True):
        if importing.without_heartbeat().filter(pk=pk).update(claim="", heartbeat_at=timezone.now()):
            send("workers.import_dataset", pk, queue=JOBS)


def dataset_rename(*, dataset: Dataset, name: str) -> None:
    Dataset.objects.filter(pk=dataset.pk).update(name=name)


@transaction.atomic
def dataset_delete(*, dataset: Dataset) -> None:
    """Delete rows, file and drafts; versions made from it stay. Raises DatasetInUse if something needs the rows."""
    runs = list(dataset.runs.values_list("name", flat=True)[:4])
    if runs:
        named = ", ".join(runs[:3]) + (" and others" if len(runs) > 3 else "")
        raise DatasetInUse(f"This dataset cannot be deleted: runs use it ({named}).")
    making = dataset.made_into.filter(status=Dataset.Status.IMPORTING).first()
    if making is not None:
        raise DatasetInUse(f"This dataset cannot be deleted yet: version {making.version} is being made from its "
                           "rows. Wait until it is ready.")
    merging = Dataset.objects.filter(curation__merged=dataset, status=Dataset.Status.IMPORTING).first()
    if merging is not None:
        raise DatasetInUse(f"This dataset cannot be deleted yet: its rows are being added to “{merging.title}”. Wait "
                           "until that is ready.")
    _rows_delete(dataset)
    changes_delete(Draft.objects.filter(Q(base=dataset) | Q(saved_as=dataset)))
    upload = source_path(dataset)
    dataset.delete()
    if upload:
        transaction.on_commit(lambda: upload.unlink(missing_ok=True))


def source_path(dataset: Dataset) -> Path | None:
    return settings.UPLOADS / dataset.upload if dataset.upload else None


def _rows_delete(dataset: Dataset) -> None:
    """Delete all rows in a few statements, however many there are, where a cascade would fetch each."""
    using = DatasetRow.objects.db
    RowWords.objects.filter(dataset=dataset)._raw_delete(using)
    RowRatings.objects.filter(row__dataset=dataset)._raw_delete(using)
    DatasetText.objects.filter(row__dataset=dataset)._raw_delete(using)
    DatasetRow.objects.filter(dataset=dataset)._raw_delete(using)
    dataset.rejected_rows.all()._raw_delete(using)
