"""The filter "Run" of the pages about labels."""

from __future__ import annotations

from django.db.models import Q

from webapp.accounts.models import Team
from webapp.principles.models import PrincipleVersion
from webapp.runs.models import Run


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
