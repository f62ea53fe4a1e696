"""Operations on runs: start, cancel, resume, pause, move, go on past a check.

Scheduling is in `scheduling`, stages' data in `stage_inputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from training.config import Recipe
from training.errors import JudgeContradictsItself, NoBetterThanCoin
from training.run.artifacts import digest_of, is_complete
from training.run.checks import check_run
from training.run.pipeline import StagePlan, identities, plan
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.runs import stage_inputs
from webapp.runs.live.notifications import notify_run_changed
from webapp.runs.model_home import models_home
from webapp.runs.models import Run, RunStage, Stage
from webapp.runs.run_values import store_values
from webapp.runs.scheduling import advance, enqueue, revive, stage_for, unshared
from webapp.runs.waiting import team_order

__all__ = ["StagePreview", "advance", "preview", "previews", "run_cancel", "run_create", "run_go_on", "run_move",
           "run_pause", "run_resume"]

Move = Literal["up", "down", "first"]
State = Literal["reused", "running", "to run"]

# By the kind of failure, the setting that turns off the check which stopped the stage, and its value. None of them is
# part of a stage's identity.
CHECKS: dict[str, tuple[str, str, float | bool]] = {
    JudgeContradictsItself.kind: ("judge", "most_flips", 1.0),
    NoBetterThanCoin.kind: ("preference_model", "stop_at_chance", False),
}


class StagePreview(NamedTuple):
    """Whether one stage would be computed or reused if the run were started now; `reused_from_run` is a run's key."""

    name: str
    kind: str
    principle: str
    identity: str
    state: State
    reused_from_run: int | None
    settings: Mapping[str, Any] = {}  # what its time depends on


@transaction.atomic
def run_create(*, team: Team, user: User | None, recipe: Recipe, dataset: Dataset | None) -> Run:
    """Start a run; every stage that the team has computed, or is computing, is reused.

    Raises:
        TrainingError: the data cannot serve this recipe, or its models or the disk cannot (`training.run.checks`).
    """
    check_run(recipe, settings.ARTIFACTS, models_home())
    (planned, identity_by_name, digests, corrections), = _identified(team, [recipe], dataset)
    run = Run.objects.create(team=team, name=recipe.name, recipe=recipe.model_dump(mode="json"), dataset=dataset,
                             file_digests=digests, corrections=corrections, created_by=user)
    stages = []
    for position, item in enumerate(planned):
        stage, reused = stage_for(team=team, item=item, identity=identity_by_name[item.name])
        if stage.status == Stage.Status.SUCCEEDED and not is_complete(stage.folder):  # its files were deleted
            Stage.objects.filter(pk=stage.pk, status=Stage.Status.SUCCEEDED).update(status=Stage.Status.STOPPED)
            stage.status, reused = Stage.Status.STOPPED, False
        RunStage.objects.create(run=run, stage=stage, name=item.name, position=position, reused=reused)
        stages.append(stage)
    revive(stages)
    store_values([run])
    advance(run=run)
    return run


@transaction.atomic
def run_cancel(*, run: Run, user: User) -> None:
    """Cancel a run. A stage that another active run uses continues; the others stop and keep their checkpoint."""
    if not Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING).update(
            status=Run.Status.CANCELLED, paused=False, finished_at=timezone.now()):
        return
    # A concurrent cancel of a run that shares a stage waits here, and then sees that this run no longer uses it.
    list(Stage.objects.select_for_update().filter(uses__run=run).order_by("pk").values_list("pk"))
    ours = Stage.objects.filter(pk__in=unshared(run))
    ours.filter(status=Stage.Status.QUEUED).update(status=Stage.Status.STOPPED)
    ours.filter(status=Stage.Status.RUNNING).update(stop_requested=True)
    run.refresh_from_db(fields=["status", "finished_at"])
    store_values([run])
    notify_run_changed(runs=[run.pk], team=run.team_id)


@transaction.atomic
def run_resume(*, run: Run, user: User) -> None:
    """Resume a paused, failed or cancelled run from its current state."""
    if Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING, paused=True).update(paused=False):
        run.paused = False
        for stage in run.stages.filter(status=Stage.Status.QUEUED):  # the messages for them were in vain
            enqueue(stage)
        notify_run_changed(runs=[run.pk], team=run.team_id)
        return
    if not Run.objects.filter(pk=run.pk, status__in=[Run.Status.FAILED, Run.Status.CANCELLED]).update(
            status=Run.Status.RUNNING, paused=False, finished_at=None):
        return
    run.refresh_from_db(fields=["status", "paused", "finished_at"])
    store_values([run])
    # A stage that was asked to stop and still runs is needed again; if it stops, it is queued again.
    run.stages.filter(status=Stage.Status.RUNNING).update(stop_requested=False)
    revive(run.stages.all())
    advance(run=run)


@transaction.atomic
def run_go_on(*, run: Run, user: User) -> list[str]:
    """Resume a run with the checks turned off that stopped it. Returns the settings, as `judge.most_flips`.

    The run's recipe says so from now on, and so do its clones: it is the one thing in it that may change, for no result
    does. Where no check stopped the run it is resumed as it is.
    """
    kinds = set(run.stages.filter(status=Stage.Status.FAILED).values_list("failure_kind", flat=True))
    turned_off = [CHECKS[kind] for kind in CHECKS if kind in kinds]
    locked = Run.objects.select_for_update().get(pk=run.pk)
    recipe = dict(locked.recipe)
    for section, setting, value in turned_off:
        recipe[section] = {**recipe.get(section, {}), setting: value}
    if recipe != locked.recipe:
        Run.objects.filter(pk=run.pk).update(recipe=recipe)
        run.refresh_from_db(fields=["recipe"])
        store_values([run])
    run_resume(run=run, user=user)
    return [f"{section}.{setting}" for section, setting, _ in turned_off]


@transaction.atomic
def run_pause(*, run: Run, user: User) -> bool:
    """Let no further stage of a run start; one at work goes on. Returns whether the run was under way."""
    paused = Run.objects.filter(pk=run.pk, status=Run.Status.RUNNING, paused=False).update(paused=True)
    if paused:
        notify_run_changed(runs=[run.pk], team=run.team_id)
    return bool(paused)


@transaction.atomic
def run_move(*, run: Run, user: User, to: Move) -> list[int]:
    """Move a run in the order of its team's unfinished runs. Returns the new order; nothing if it cannot be moved.

    The team's runs trade their own places, so that the runs of other teams keep theirs.
    """
    teams = Run.objects.of(run.team).filter(status=Run.Status.RUNNING)
    places = {moved.pk: moved.pk if moved.place is None else moved.place
              for moved in teams.select_for_update().order_by("pk").only("pk", "place")}
    order = team_order(run.team)
    if run.pk not in order:
        return []
    at = order.index(run.pk)
    target = {"up": max(at - 1, 0), "down": min(at + 1, len(order) - 1), "first": 0}[to]
    order.insert(target, order.pop(at))
    for pk, place in zip(order, sorted(places[pk] for pk in order), strict=True):
        if places[pk] != place:
            Run.objects.filter(pk=pk).update(place=place)
    notify_run_changed(runs=order, team=run.team_id)
    return order


def preview(*, team: Team, recipe: Recipe, dataset: Dataset | None) -> list[StagePreview]:
    """What `run_create` would compute and what it would reuse.

    Raises:
        BadSettings, BadData: the data cannot serve this recipe.
    """
    check_run(recipe, settings.ARTIFACTS, models_home())
    return previews(team=team, recipes=[recipe], dataset=dataset)[0]


def previews(*, team: Team, recipes: Sequence[Recipe], dataset: Dataset | None) -> list[list[StagePreview]]:
    """The preview of each recipe on its own, none of which is checked; two recipes that need the same stage name the
    same identity. The number of queries does not grow with the recipes.

    Raises:
        BadSettings, BadData: the data cannot serve a recipe.
    """
    identified = _identified(team, recipes, dataset)
    every_identity = {identity for one in identified for identity in one.identities.values()}
    known_stages = Stage.objects.filter(team=team, identity__in=every_identity)
    stages = {stage.identity: stage for stage in known_stages.defer("settings", "summary", "details")}
    uses = RunStage.objects.filter(stage__in=[stage.pk for stage in stages.values()]).order_by("-run_id")
    first_user = dict(uses.values_list("stage_id", "run_id"))
    return [[_preview_of(item, one.identities[item.name], stages, first_user) for item in one.stages]
            for one in identified]


def _preview_of(item: StagePlan, identity: str, stages: Mapping[str, Stage],
                first_user: Mapping[int, int]) -> StagePreview:
    stage = stages.get(identity)
    state: State = "to run"
    if stage is not None and stage.status == Stage.Status.SUCCEEDED:
        state = "reused"
    elif stage is not None and stage.is_active:
        state = "running"
    return StagePreview(item.name, item.kind, item.principle or "", identity, state,
                        first_user.get(stage.pk) if stage is not None and state != "to run" else None, item.settings)


class Identified(NamedTuple):
    """The plan, each stage's identity by name, the data's digests, and those of people's corrections by principle."""

    stages: list[StagePlan]
    identities: dict[str, str]
    digests: dict[str, str]
    corrections: dict[str, str]


def _identified(team: Team, recipes: Sequence[Recipe], dataset: Dataset | None) -> list[Identified]:
    digests_by_data: dict[str, dict[str, str]] = {}
    planned = []
    for recipe in recipes:
        stages = plan(recipe)
        digests = digests_by_data.get(key := _data_key(recipe))
        if digests is None:
            digests = digests_by_data[key] = stage_inputs.file_digests(recipe, dataset)
        planned.append((stages, identities(stages, digests), digests))
    labelled = Stage.objects.filter(team=team, status=Stage.Status.SUCCEEDED, kind="label",
                                    identity__in={identity for _, before, _ in planned for identity in before.values()})
    corrected = {}
    for stage in labelled:
        changed = stage_inputs.corrections_of(team=team, label_settings=stage.settings,
                                         labels=stage.folder / "labels.jsonl")
        corrected[stage.identity] = (stage.principle, stage_inputs.corrections_digest(changed))
    result = []
    for stages, before, digests in planned:
        corrections = dict(corrected[identity] for identity in before.values() if identity in corrected)
        result.append(Identified(stages, identities(stages, digests, corrections), digests, corrections))
    return result


def _data_key(recipe: Recipe) -> str:
    """Equal for recipes whose data files are the same ones."""
    values = recipe.model_dump(mode="json")
    return digest_of([values["data"], recipe.seed, values["principles"], values["preference_model"].get("labels_from"),
                      values["sample"]["pairs"], values["sft"], values["weights"]])
