"""Which labels are a run's (the filter "Run" of the pages about labels), and which runs a label trained."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from pydantic import ValidationError

from training.config import JudgeSettings
from training.judges.identity import judge_name
from webapp.accounts.models import Team
from webapp.labels.models import Label
from webapp.labels.uses import LabelUses
from webapp.principles.models import PrincipleVersion
from webapp.runs.models import Run, RunStage, Stage

_NAMED, _COUNTED = 6, 50  # runs of a label that are named, and counted


def labels_of_run(team: Team, run_id: int) -> Q:
    """The labels for a run's recipe: its wordings, on its data."""
    run = Run.objects.of(team).filter(pk=run_id).first()
    if run is None:
        return Q(pk=None)
    statements = run.uses.filter(stage__kind="label").values_list("stage__principle", "stage__settings__statement")
    wordings = Q(pk=None)
    for name, statement in statements:
        wordings |= Q(principle__name=name, statement=statement)
    versions = PrincipleVersion.objects.filter(wordings, principle__team=team).values_list("pk", flat=True)
    return Q(principle_version__in=list(versions), pair__dataset=run.dataset_id)


def runs_of_label(label: Label) -> list[int]:
    """Keys of the runs, newest first and at most fifty, that trained a preference model on labels of this one's
    wording, judge and data; two queries."""
    version = label.principle_version
    labelled = Stage.objects.filter(
        team=label.team_id, kind="label", status=Stage.Status.SUCCEEDED, principle=version.principle.name,
        settings__statement=version.statement).values_list("pk", "settings__judge")
    stages = [pk for pk, judge in labelled if _is_by(label.judge, judge)]
    trained = RunStage.objects.filter(
        run=OuterRef("pk"), stage__kind="preference_model", stage__status=Stage.Status.SUCCEEDED,
        stage__principle__in=["", version.principle.name])
    runs = Run.objects.filter(Exists(trained), Exists(RunStage.objects.filter(run=OuterRef("pk"), stage__in=stages)),
                              team=label.team_id, dataset=label.pair.dataset_id)
    return list(runs.order_by("-pk").values_list("pk", flat=True)[:_COUNTED])


def uses_of_label(label: Label) -> LabelUses:
    runs = runs_of_label(label)
    return LabelUses([(run, reverse("runs:detail", args=[run])) for run in runs[:_NAMED]], len(runs),
                     f"{reverse('runs:train_again')}?label={label.pk}")


def _is_by(name: str, judge: object) -> bool:
    try:
        return judge_name(JudgeSettings.model_validate(judge)) == name
    except ValidationError:  # settings of another version
        return False
