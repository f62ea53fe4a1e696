"""Which runs stand on labels that people have corrected since, and what training them again would compute.

Corrections are part of the identity of a preference model, so the preview of a run's own recipe says what is new.
A run is listed where a preference model of it would be another one now and somebody changed a label of its principle
after the run was made; without the second, a new version of the code would count as a correction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from training.config import Recipe, read_exactly
from training.errors import TrainingError
from webapp.accounts.durations import duration
from webapp.accounts.models import Team, User
from webapp.judges.estimating import Costs, costs_of
from webapp.labels.models import Label, LabelChange
from webapp.runs.eta import Past, expected, past_stages
from webapp.runs.form.form_views import free_name
from webapp.runs.labels_of_run import runs_of_label
from webapp.runs.models import Run, RunStage
from webapp.runs.services import StagePreview, previews, run_create

MOST = 20  # runs looked at, the newest ones


@dataclass(frozen=True)
class RunAgain:
    """A run that stands on corrected labels, and what a clone of it would compute now."""

    run: Run
    recipe: Recipe
    principles: list[str]  # whose preference models would be trained again
    to_run: list[StagePreview]
    reused: int
    time: str
    costs: Costs | None


def runs_to_train_again(*, team: Team, label: Label | None = None) -> list[RunAgain]:
    """The newest runs that stand on labels that changed since; of one label, those that it trained."""
    runs = Run.objects.of(team).filter(archived=False).exclude(status=Run.Status.RUNNING).select_related("dataset")
    if label is not None:
        runs = runs.filter(pk__in=runs_of_label(label))
    changed = _last_changes(team)
    by_dataset: dict[int | None, list[tuple[Run, Recipe]]] = defaultdict(list)
    for run in runs[:MOST] if changed else []:
        try:
            by_dataset[run.dataset_id].append((run, read_exactly(run.recipe)))
        except TrainingError:  # a recipe of another version
            continue
    past, result = past_stages(team.pk), []
    for group in by_dataset.values():
        try:
            shown = previews(team=team, recipes=[recipe for _, recipe in group], dataset=group[0][0].dataset)
        except TrainingError:  # the data is gone, or no longer serves these recipes
            continue
        own = _own_identities([run for run, _ in group])
        for (run, recipe), stages in zip(group, shown, strict=True):
            again = _again(run, recipe, stages, own[run.pk], changed, past)
            if again is not None:
                result.append(again)
    return sorted(result, key=lambda again: -again.run.pk)


def clones_start(*, team: Team, user: User, chosen: Sequence[RunAgain]) -> list[Run]:
    """Start a clone of each run, with the labels as people have them now.

    Raises:
        TrainingError: a clone cannot be started; those before it are.
    """
    return [run_create(team=team, user=user, dataset=again.run.dataset,
                       recipe=again.recipe.model_copy(update={"name": free_name(team, again.recipe.name)}))
            for again in chosen]


def _again(run: Run, recipe: Recipe, stages: Sequence[StagePreview], own: dict[str, str],
           changed: dict[str, datetime], past: Sequence[Past]) -> RunAgain | None:
    to_run = [stage for stage in stages if stage.state == "to run"]
    models = [stage for stage in to_run if stage.kind == "preference_model" and own.get(stage.name) != stage.identity]
    names = [choice.name for choice in recipe.principles]
    principles = [name for name in names if name in changed and changed[name] > run.created_at and any(
        stage.principle in ("", name) for stage in models)]
    if not principles:
        return None
    to_label = [stage.principle for stage in to_run if stage.kind == "label"]
    is_judged = bool(to_label) or any(stage.kind == "evaluate" for stage in to_run)
    costs = costs_of(team=run.team, recipe=recipe, dataset=run.dataset, to_label=to_label) if is_judged else None
    return RunAgain(run, recipe, principles, to_run, len(stages) - len(to_run), _time(to_run, past), costs)


def _time(to_run: Sequence[StagePreview], past: Sequence[Past]) -> str:
    spans = expected([(place, stage.kind, stage.settings) for place, stage in enumerate(to_run)], past)
    known = [span.seconds for span in spans.values() if span is not None]
    if not known:
        return "not known yet"
    return f"{'about' if len(known) == len(to_run) else 'at least'} {duration(sum(known))}"


def _last_changes(team: Team) -> dict[str, datetime]:
    """By principle, when a label of it was last corrected, or a correction taken back."""
    rows = LabelChange.objects.of(team).order_by().values_list("label__principle_version__principle__name").annotate(
        changed=Max("at"), undone=Max("undone_at"))
    return {name: max(filter(None, times)) for name, *times in rows}


def _own_identities(runs: Sequence[Run]) -> dict[int, dict[str, str]]:
    own: dict[int, dict[str, str]] = {run.pk: {} for run in runs}
    uses = RunStage.objects.filter(run__in=list(own)).values_list("run", "name", "stage__identity")
    for run, name, identity in uses:
        own[run][name] = identity
    return own
