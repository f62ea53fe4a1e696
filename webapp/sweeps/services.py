"""Operations on sweeps: create, extend, start what may start, pause, cancel, change.

Which runs may start is decided under a lock on the sweep's row, from the rows alone. So it may be asked at any time, by
any process, as often as one likes: a web server or a worker that is killed in the middle leaves nothing behind.
"""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Q

from training.config import Recipe, read_exactly
from training.errors import BadSettings, TrainingError
from training.run.checks import check_run
from training.sweep.sweep_plan import vary
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.runs.model_home import models_home
from webapp.runs.models import Run, RunStage, Stage
from webapp.runs.services import previews, run_cancel, run_create
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.planning import MOST_RUNS, planned_runs, recipe_digest

MOST_AT_A_TIME = 50
W = SweepRun.Status
logger = logging.getLogger("concord.sweeps")


@transaction.atomic
def sweep_create(*, team: Team, user: User, name: str, base: Recipe, dataset: Dataset | None, over: dict[str, Any],
                 at_a_time: int = 1) -> Sweep:
    """Make a sweep and start its first runs.

    Raises:
        BadSettings: the name, 'at a time', or a combination cannot be used.
    """
    sweep = Sweep(team=team, name=_checked_name(name), recipe=base.model_dump(mode="json"), dataset=dataset,
                  at_a_time=_checked_number(at_a_time), created_by=user)
    sweep.save()
    _add(sweep, base, over)
    sweep_advance(sweep=sweep)
    return sweep


@transaction.atomic
def sweep_extend(*, sweep: Sweep, user: User, over: dict[str, Any]) -> int:
    """Add the combinations that the sweep does not have yet. Returns how many they are.

    Raises:
        BadSettings: a combination cannot be used, all of them are there, or they would be too many.
    """
    locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
    added = _add(locked, read_exactly(locked.recipe), over)
    sweep_advance(sweep=locked)
    return added


def _add(sweep: Sweep, base: Recipe, over: dict[str, Any]) -> int:
    runs = planned_runs(team=sweep.team, base=base, over=over)
    entries = SweepRun.objects.filter(sweep=sweep)
    known = set(entries.values_list("digest", flat=True))
    new = {digest: run for run in runs if (digest := recipe_digest(run.recipe)) not in known}
    if not new:
        raise BadSettings("'over' adds no run: the sweep has each of these combinations.", "Vary something else.")
    if len(known) + len(new) > MOST_RUNS:
        raise BadSettings(f"'over' adds {len(new)} runs to {len(known)}; a sweep has at most {MOST_RUNS}.",
                          "Add fewer, or make another sweep.")
    last = entries.aggregate(last=Max("number"))["last"] or 0
    SweepRun.objects.bulk_create([
        SweepRun(team=sweep.team, sweep=sweep, number=number, varied=run.varied, digest=digest)
        for number, (digest, run) in enumerate(new.items(), start=last + 1)])
    sweep.over = [*sweep.over, over]
    sweep.save(update_fields=["over"])
    return len(new)


@transaction.atomic
def sweep_advance(*, sweep: Sweep) -> list[Run]:
    """Start the next runs, as many as may be under way. Safe to call at any time. Returns those that were started.

    A paused run keeps its place: once it is resumed there would be more under way than were allowed.
    """
    locked = Sweep.objects.select_for_update(of=("self",)).select_related("team", "created_by", "dataset")
    sweep = locked.get(pk=sweep.pk)
    if sweep.paused:
        return []
    under_way = SweepRun.objects.filter(sweep=sweep, run__status=Run.Status.RUNNING).count()
    started: list[Run] = []
    waiting = SweepRun.objects.filter(sweep=sweep, status=W.WAITING).exclude(held_by__status=Stage.Status.FAILED)
    for entry in waiting.order_by("number"):
        if under_way + len(started) >= sweep.at_a_time:
            break
        if (run := _start(sweep, entry)) is not None:
            started.append(run)
    return started


def _start(sweep: Sweep, entry: SweepRun) -> Run | None:
    """Start one combination, or note why it cannot start."""
    try:
        recipe = vary(read_exactly(sweep.recipe), entry.varied)
        recipe = recipe.model_copy(update={"name": f"{sweep.name}, run {entry.number}"})
        if (failed := _failed_stage(sweep, recipe)) is not None:
            SweepRun.objects.filter(pk=entry.pk).update(held_by=failed)
            return None
        with transaction.atomic():
            run = run_create(team=sweep.team, user=sweep.created_by, recipe=recipe, dataset=sweep.dataset)
    except TrainingError as problem:
        SweepRun.objects.filter(pk=entry.pk, status=W.WAITING).update(status=W.REFUSED, refusal=str(problem))
        return None
    SweepRun.objects.filter(pk=entry.pk).update(status=W.STARTED, run=run, held_by=None, refusal="")
    return run


def _failed_stage(sweep: Sweep, recipe: Recipe) -> Stage | None:
    """A stage that failed in another run of the sweep and that this recipe needs too: it would fail at the same place,
    and to start it would try the stage again without anybody having changed a thing."""
    uses = RunStage.objects.filter(run__in=SweepRun.objects.filter(sweep=sweep, run__isnull=False).values("run"),
                                   stage__status=Stage.Status.FAILED)
    failed = {use.stage.identity: use.stage for use in uses.select_related("stage")}
    if not failed:
        return None
    check_run(recipe, settings.ARTIFACTS, models_home())
    (stages,) = previews(team=sweep.team, recipes=[recipe], dataset=sweep.dataset)
    return next((failed[stage.identity] for stage in stages if stage.identity in failed), None)


def sweeps_advance() -> None:
    """Advance every sweep that has something to start. Called every few seconds by each worker's reaper; one sweep that
    fails does not keep the others waiting."""
    open_entries = SweepRun.objects.filter(status=W.WAITING).filter(
        Q(held_by=None) | ~Q(held_by__status=Stage.Status.FAILED))
    for sweep in Sweep.objects.filter(pk__in=open_entries.values("sweep"), paused=False):
        try:
            sweep_advance(sweep=sweep)
        except Exception:
            logger.exception("sweep %s cannot go on", sweep.pk)


def sweep_pause(*, sweep: Sweep, user: User) -> None:
    """Start no further run. Those under way go on."""
    Sweep.objects.filter(pk=sweep.pk).update(paused=True)


@transaction.atomic
def sweep_continue(*, sweep: Sweep, user: User) -> list[Run]:
    """Start runs again, and try again what was refused. Returns the runs that were started now."""
    Sweep.objects.filter(pk=sweep.pk).update(paused=False)
    SweepRun.objects.filter(sweep=sweep, status=W.REFUSED).update(status=W.WAITING, refusal="")
    return sweep_advance(sweep=sweep)


@transaction.atomic
def sweep_cancel(*, sweep: Sweep, user: User) -> tuple[int, int]:
    """Start none of those that wait, and cancel the runs under way. Returns how many were waiting, and under way."""
    Sweep.objects.select_for_update().get(pk=sweep.pk)
    waiting = SweepRun.objects.filter(sweep=sweep, status__in=[W.WAITING, W.REFUSED]).update(status=W.CANCELLED)
    runs = list(Run.objects.of(sweep.team).filter(
        pk__in=SweepRun.objects.filter(sweep=sweep).values("run"), status=Run.Status.RUNNING).order_by("pk"))
    for run in runs:
        run_cancel(run=run, user=user)
    return waiting, len(runs)


@transaction.atomic
def sweep_change(*, sweep: Sweep, user: User, name: str, at_a_time: int) -> None:
    """Rename a sweep, and say how many of its runs may be under way; more start at once, none is stopped.

    Raises:
        BadSettings: the name or the number cannot be used.
    """
    Sweep.objects.filter(pk=sweep.pk).update(name=_checked_name(name), at_a_time=_checked_number(at_a_time))
    sweep_advance(sweep=sweep)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > 180:
        raise BadSettings(f"'name' has {len(name)} characters.", "Give a name of 1 to 180.")
    return name


def _checked_number(at_a_time: int) -> int:
    if not 1 <= at_a_time <= MOST_AT_A_TIME:
        raise BadSettings(f"'at_a_time' is {at_a_time}.", f"Give a number from 1 to {MOST_AT_A_TIME}.")
    return at_a_time
