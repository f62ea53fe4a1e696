"""Schedules stages. Every change of a status is a conditional update, so that only one process makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from training.config import read_exactly
from training.run.pipeline import StagePlan, identities, needs_torch, plan
from webapp.accounts.models import Team
from webapp.celery import send
from webapp.runs.live.notifications import notify_run_changed
from webapp.runs.models import LogLine, Run, RunStage, Stage
from webapp.runs.run_values import SOURCES, store_values

S = Stage.Status


def queue_of(kind: str, settings: Mapping[str, Any]) -> str:
    """The workers' queue of a stage: labels from judges elsewhere wait for answers, all else goes where models are.

    Stages that only write a file (weights) go there too, since they stand between two that load models: on other
    workers, the moment that they take would let a later run's training in between.
    """
    return Stage.Queue.IO if kind == "label" and not needs_torch(kind, settings) else Stage.Queue.GPU


def enqueue(stage: Stage) -> None:
    """Tell the workers of the stage's queue that there is work. Which stage they take is decided by the database
    (`waiting.takeable`); a lost message is sent again."""
    send("workers.run_next", str(stage.queue), queue=str(stage.queue))


@transaction.atomic
def advance(*, run: Run) -> None:
    """Queue every stage whose inputs are ready, and update the run's status. Safe to call at any time."""
    # The row is locked: a concurrent cancel waits, and then finds the stages that are queued here.
    run.status = Run.objects.select_for_update().values_list("status", flat=True).get(pk=run.pk)
    if run.status != Run.Status.RUNNING:
        return
    stages = stages_by_name(run)
    revive([stage for stage in stages.values() if stage.status == S.STOPPED])
    failed = any(stage.status == S.FAILED for stage in stages.values())
    for item in plan(read_exactly(run.recipe)):
        stage = stages[item.name]
        ready = all(stages[name].status == S.SUCCEEDED for name in (*item.inputs.values(), *item.after))
        # After a failure nothing new starts: a person decides whether to continue.
        if ready and not failed and stage.status == S.WAITING:
            now = timezone.now()
            if Stage.objects.filter(pk=stage.pk, status=S.WAITING).update(status=S.QUEUED, queued_at=now):
                enqueue(stage)
            stage.status = S.QUEUED
    _settle(run, list(stages.values()))
    notify_run_changed(runs=[run.pk], team=run.team_id)


def advance_users(stage: Stage) -> None:
    """Advance every active run that uses the stage; what it reported becomes values of all runs that use it."""
    for run in Run.objects.filter(uses__stage=stage, status=Run.Status.RUNNING):
        advance(run=run)
    if stage.kind in SOURCES:
        store_values(list(Run.objects.filter(uses__stage=stage)))


def revive(stages: Iterable[Stage]) -> None:
    """Set stopped and failed stages to waiting again; they keep their folder and continue from their checkpoint."""
    stages = list(stages)
    changed = Stage.objects.filter(pk__in=[stage.pk for stage in stages], status__in=[S.STOPPED, S.FAILED])
    changed.update(status=S.WAITING, crashes=0, stop_requested=False, failure_kind="", cause="", remedy="", details="",
                   finished_at=None)
    for stage in stages:
        stage.status = S.WAITING if stage.status in {S.STOPPED, S.FAILED} else stage.status


def stages_by_name(run: Run) -> dict[str, Stage]:
    """A run's stages in the order of its pipeline."""
    return {use.name: use.stage for use in run.uses.select_related("stage")}


def _settle(run: Run, stages: list[Stage]) -> None:
    statuses = {stage.status for stage in stages}
    if statuses == {S.SUCCEEDED}:
        status = Run.Status.SUCCEEDED
    elif S.FAILED in statuses and not statuses & {S.QUEUED, S.RUNNING}:
        status = Run.Status.FAILED
    else:
        return
    now = timezone.now()
    Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(status=status, finished_at=now)
    run.status, run.finished_at = status, now
    store_values([run])


# The stages of a run's plan -------------------------------------------------------------------------------------


def stage_for(*, team: Team, item: StagePlan, identity: str) -> tuple[Stage, bool]:
    """The team's stage with this identity, and whether it has been computed, or is being computed, already."""
    stage, created = Stage.objects.get_or_create(
        team=team, identity=identity,
        defaults={"name": item.name, "kind": item.kind, "principle": item.principle or "", "settings": item.settings,
                  "queue": queue_of(item.kind, item.settings)})
    return stage, not created and stage.status in {S.SUCCEEDED, S.QUEUED, S.RUNNING}


@transaction.atomic
def repoint(*, run: Run, corrections: Mapping[str, str]) -> None:
    """After labels were corrected, replace the run's affected preference models and all stages that follow them."""
    merged = {**run.corrections, **corrections}
    planned = plan(read_exactly(run.recipe))
    identity_by_name = identities(planned, run.file_digests, merged)
    uses = {use.name: use for use in run.uses.select_related("stage")}
    for item in planned:
        use = uses[item.name]
        if use.stage.identity != identity_by_name[item.name]:
            use.stage, use.reused = stage_for(team=run.team, item=item, identity=identity_by_name[item.name])
            use.save(update_fields=["stage", "reused"])
            read = [name for name in corrections if f"label:{name}" in item.inputs.values()]
            if read:
                _note_corrections(use.stage, read)
    Run.objects.filter(pk=run.pk).update(corrections=merged)
    run.corrections = merged
    store_values([run])


def _note_corrections(stage: Stage, principles: Iterable[str]) -> None:
    """Say on the run's page, and first in the stage's log, that the stage took the place of one that was planned. Lines
    of the stage itself count from 1."""
    words = (f"Labels of {', '.join(principles)} were corrected while a run was waiting. "
             "Training uses the corrected labels.")
    LogLine.objects.get_or_create(stage=stage, seq=0, defaults={
        "time": timezone.now(), "level": "info", "message": words, "code": LogLine.CORRECTED})


def unshared(run: Run) -> list[int]:
    """Keys of the run's stages that no active run uses; the run itself counts only while it is active."""
    used = RunStage.objects.filter(run__status=Run.Status.RUNNING).values("stage")
    return list(run.stages.exclude(pk__in=used).values_list("pk", flat=True))
