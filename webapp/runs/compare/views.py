"""The page that compares two to twelve runs of a team, and the points of its charts."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from webapp.accounts.middleware import TeamRequest
from webapp.principles.models import Principle
from webapp.principles.selectors import principles_by_name
from webapp.runs.compare.answers import answers_of
from webapp.runs.compare.compared_runs import ComparedRun, NotComparable, compared_runs, query_of
from webapp.runs.compare.curves import common_tags, curves
from webapp.runs.compare.final_numbers import final_numbers
from webapp.runs.compare.recipe_differences import recipe_differences
from webapp.runs.head_to_head.results import newest_of, result_of
from webapp.runs.models import Run
from webapp.runs.page.selectors import weighted
from webapp.runs.series.metrics import ChartQuery


@require_GET
def compare(request: TeamRequest) -> HttpResponse:
    try:
        runs = compared_runs(request.team, request.GET)
    except NotComparable as problem:
        return render(request, "runs/compare.html", {"problem": problem}, status=problem.status)
    of_team = principles_by_name(request.team)
    principles = _principles(runs, of_team)
    numbers = runs[0].in_order
    contest = newest_of(request.team, numbers)
    return render(request, "runs/compare.html", {
        "contest": result_of(contest, of_team, numbers) if contest is not None else None,
        "runs": runs, "address": query_of(numbers), "recipes": recipe_differences(runs, principles),
        "blocks": final_numbers(runs, principles),
        "answers": answers_of(runs), "chart_data": _chart_data(runs, principles),
        "own_principles": [name for name in principles if name not in of_team],  # they have no hue of their own
        "steerable": [compared.run for compared in runs if compared.run.status == Run.Status.SUCCEEDED],
        "under_way": [compared for compared in runs if compared.is_under_way]})


@require_GET
def compare_metrics(request: TeamRequest) -> JsonResponse:
    """The points of some series of all compared runs, by stage: two runs may share one."""
    try:
        query = ChartQuery.from_query(request.GET)
        if not query.tags:
            raise ValueError("tags: name at least one series, e.g. tags=reward/total")
        runs = compared_runs(request.team, request.GET)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    except NotComparable as problem:
        return JsonResponse({"error": str(problem)}, status=problem.status)
    return JsonResponse({"series": curves(runs, query)}, json_dumps_params={"separators": (",", ":")})


def _principles(runs: list[ComparedRun], of_team: dict[str, Principle]) -> dict[str, Principle]:
    """The principles of all recipes by name, in the order of the runs."""
    return {item.principle.name: item.principle for compared in runs if compared.recipe is not None
            for item in weighted(compared.run.recipe, of_team)}


def _chart_data(runs: list[ComparedRun], principles: dict[str, Principle]) -> dict[str, Any]:
    """What the page's script needs to draw."""
    return {
        "metrics": reverse("runs:compare_metrics") + query_of(runs[0].in_order),
        "runs": [{"letter": compared.letter, "name": f"{compared.letter}: {compared.run.name} #{compared.run.pk}",
                  "hue": compared.hue.removeprefix("hue-"), "stage": compared.ppo.pk if compared.ppo else None}
                 for compared in runs],
        "tags": common_tags(runs),
        "principles": list(principles),
        "symbols": {name: principle.symbol for name, principle in principles.items()},
    }
