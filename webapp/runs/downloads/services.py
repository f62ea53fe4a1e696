"""Exports of models: asked for on the page, made by a worker, kept until the stage goes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training.text import storable
from webapp.accounts.models import User
from webapp.celery import JOBS, send
from webapp.runs.models import ModelExport, Stage

S = ModelExport.Status
LOST = timedelta(minutes=5)
"""Without a sign of life from its worker, an export may be asked for again."""


@transaction.atomic
def export_request(*, stage: Stage, user: User) -> ModelExport:
    """Let a worker export the stage's model, unless it is exported or being exported already."""
    export, is_new = ModelExport.objects.select_for_update().get_or_create(
        stage=stage, defaults={"team_id": stage.team_id, "requested_by": user})
    if not is_new and (export.status == S.FAILED or is_lost(export) or is_gone(export)):
        ModelExport.objects.filter(pk=export.pk).update(
            status=S.QUEUED, cause="", remedy="", size=0, requested_by=user, requested_at=timezone.now(), seen_at=None)
        export.refresh_from_db()
        is_new = True
    if is_new:
        send("workers.export_model", export.pk, queue=JOBS)
    return export


def is_lost(export: ModelExport) -> bool:
    """Whether nobody works on it any more: its worker died, or its message was lost."""
    since = export.seen_at or export.requested_at
    return export.status in {S.QUEUED, S.RUNNING} and since < timezone.now() - LOST


def is_gone(export: ModelExport) -> bool:
    """Whether its files were deleted."""
    return export.status == S.DONE and not export.folder.is_dir()


def export_claim(*, export_id: int) -> ModelExport | None:
    """The export for the worker that is the first to take it, else None."""
    taken = ModelExport.objects.filter(pk=export_id, status=S.QUEUED).update(status=S.RUNNING, seen_at=timezone.now())
    return ModelExport.objects.select_related("stage").get(pk=export_id) if taken else None


def export_seen(*, export: ModelExport) -> None:
    """The worker is still at work."""
    ModelExport.objects.filter(pk=export.pk, status=S.RUNNING).update(seen_at=timezone.now())


def export_done(*, export: ModelExport) -> None:
    size = sum(file.stat().st_size for file in export.folder.rglob("*") if file.is_file())
    ModelExport.objects.filter(pk=export.pk).update(status=S.DONE, size=size)


def export_failed(*, export: ModelExport, cause: str, remedy: str) -> None:
    ModelExport.objects.filter(~Q(status=S.DONE), pk=export.pk).update(
        status=S.FAILED, cause=storable(cause), remedy=storable(remedy))


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
