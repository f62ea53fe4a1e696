"""The page that tries other weights and scalarizations on a run's kept responses."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET
from numpy.typing import NDArray

from training.config import Recipe, Scalarization
from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.principles.selectors import principles_by_name
from webapp.runs.form.reweighting import address_of, reweighted
from webapp.runs.form.scalarizations import EXPLAINED
from webapp.runs.models import Run
from webapp.runs.page.selectors import weighted
from webapp.runs.rollouts.rescalarize import rewards_of
from webapp.runs.rollouts.table import Rollouts, Scores
from webapp.runs.rollouts.views import responses_of
from webapp.runs.rollouts.what_if import GROUP, WhatIf, what_if

NOT_AFTERWARDS = "constrained"  # its multipliers changed while the run was trained


@require_GET
def what_if_page(request: TeamRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(Run.objects.of(request.team), pk=pk)
    responses = responses_of(run)
    if not responses:
        raise Http404("This run keeps no responses of its training.")
    own, problem = _without_multipliers(run.stored.recipe), ""
    try:
        recipe = reweighted(own, request.GET)
    except TrainingError as error:
        recipe, problem = own, str(error)
    scores = responses.scores()
    weight_by_name = {choice.name: choice.weight for choice in recipe.principles}
    weights = {name: weight_by_name[name] for name in responses.principles}
    settings = recipe.scalarization
    result: WhatIf | None = None
    try:
        result = what_if(scores.standardised, weights, settings, _own_reward(own, scores), scores.steps)
    except TrainingError as error:
        problem = problem or str(error)
    principles = principles_by_name(run.team)
    shown = [item for item in weighted(recipe.model_dump(mode="json"), principles) if item.principle.name in weights]
    start = {"clone": str(run.pk)} | address_of(weights, settings)
    return render(request, "runs/what_if.html", {
        "run": run, "weighted": shown, "settings": settings, "result": result, "problem": problem, "group": GROUP,
        "functions": [name for name in EXPLAINED if name != NOT_AFTERWARDS],
        "sentence": EXPLAINED[settings.function].sentence, "own_settings": _own_settings(settings),
        "was_constrained": run.stored.recipe.scalarization.function == NOT_AFTERWARDS,
        "own_principles": [name for name in weights if name not in principles], "count": len(scores.reward),
        "disagreements": _disagreements(responses, result) if result else [],
        "changes": [(item, change) for change in (result.changes if result else [])
                    for item in shown if item.principle.name == change.principle],
        "start": f"{reverse('runs:new')}?{urlencode(start)}"})


def _own_reward(own: Recipe, scores: Scores) -> NDArray[np.float64]:
    """The reward that the run's weights give: as it was, or computed where each phase had weights of its own."""
    if not own.ppo.conditioned:
        return scores.reward
    return rewards_of(scores.standardised, {choice.name: choice.weight for choice in own.rewarded}, own.scalarization)


def _without_multipliers(recipe: Recipe) -> Recipe:
    if recipe.scalarization.function != NOT_AFTERWARDS:
        return recipe
    return recipe.model_copy(update={"scalarization": Scalarization()})


def _own_settings(settings: Scalarization) -> list[tuple[str, float]]:
    """The numbers that the chosen function reads."""
    names = [name for name in EXPLAINED[settings.function].settings if name != "thresholds"]
    return [(name, getattr(settings, name)) for name in names]


def _disagreements(responses: Rollouts, result: WhatIf) -> list[dict[str, Any]]:
    """The responses whose rank changes most, with the share that each beats before and after."""
    rows = responses.rows(pa.array(result.disagreements, pa.int64())) if result.disagreements else []
    return [row | {"before": result.ranks[place, 0], "after": result.ranks[place, 1]}
            for row, place in zip(rows, result.disagreements, strict=True)]
