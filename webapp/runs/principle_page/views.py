"""Pages of principles: the list, one principle with its versions, and trying it on a pair."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.judges import trial
from webapp.judges.trial_form import TrialForm
from webapp.labels.models import Pair
from webapp.principles.measures import needs_reference
from webapp.principles.models import Principle
from webapp.principles.trying import try_measure
from webapp.runs.principle_page import selectors
from webapp.runs.principle_page.measure_trial_form import MeasureTrialForm
from webapp.runs.principle_page.measured_dataset import datasets_to_measure, measure_dataset

DATASETS = 200  # offered to be measured


@require_safe
def principle_list(request: TeamRequest) -> HttpResponse:
    archived = "archived" in request.GET
    cards = selectors.principle_cards(team=request.team, archived=archived)
    hidden = Principle.objects.of(request.team).filter(archived=True).count()
    return render(request, "principles/list.html", {"cards": cards, "archived": archived, "hidden": hidden})


@require_safe
def principle_detail(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(selectors.principle_detail(team=request.team), pk=pk)
    wordings = selectors.wordings(principle=principle)
    context = {"principle": principle, "latest": wordings[0] if wordings else None, "wordings": wordings,
               "accuracy": selectors.accuracy_of(principle), "report": getattr(principle, "report", None) or {}}
    if wordings and wordings[0].version.measure:
        return _measured_page(request, context)
    return render(request, "principles/detail.html", context | {
        "form": TrialForm(initial=_pair_to_try(request) | {"kind": "rule"}, team=request.team),
        "pairs": selectors.pairs_to_try(team=request.team),
    })


def _measured_page(request: TeamRequest, context: dict[str, Any]) -> HttpResponse:
    """The page of a measured principle, with the distribution over the dataset that the address names."""
    settings = context["latest"].version.settings
    if "form" not in context:
        context["form"] = MeasureTrialForm(initial=_pair_to_try(request), needs_reference=needs_reference(settings))
    if chosen := request.GET.get("dataset", ""):
        dataset = get_object_or_404(datasets_to_measure(team=request.team), pk=row_key(chosen))
        context["over"] = measure_dataset(dataset=dataset, settings=settings)
    columns = ("pk", "name", "version", "kind", "rows_good")
    return render(request, "principles/detail.html", context | {
        "datasets": datasets_to_measure(team=request.team).only(*columns)[:DATASETS],
        "pairs": selectors.pairs_to_try(team=request.team)})


def _pair_to_try(request: TeamRequest) -> dict[str, str]:
    """The pair that the address names, else the demo world's example."""
    number = request.GET.get("pair", "")
    if not number:
        return trial.example()
    pair = get_object_or_404(Pair.objects.of(request.team).select_related("text"), pk=row_key(number))
    return trial.of_pair(pair)


@require_POST
def principle_try(request: TeamRequest, pk: int) -> HttpResponse:
    """What the judge, or the measure, says of the pair in the form: a fragment for htmx, else the whole page."""
    principle = get_object_or_404(selectors.principle_detail(team=request.team), pk=pk)
    wordings = selectors.wordings(principle=principle)
    if wordings and wordings[0].version.measure:
        return _try_measure(request, {"principle": principle, "latest": wordings[0], "wordings": wordings})
    form = TrialForm(request.POST, team=request.team)
    context = {"principle": principle, "form": form, "wordings": wordings, "latest": wordings[0] if wordings else None}
    if form.is_valid() and wordings:
        texts = {key: form.cleaned_data[key] for key in ("prompt", "a", "b")}
        verdict = trial.try_principle(team=request.team, judge=form.judge, principle=principle.name,
                                      statement=wordings[0].version.statement, **texts)
        context |= {"verdict": verdict, "orders_disagree": orders_disagree(verdict.p_shown, verdict.p_swapped)}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "principles/_try.html", context)
    return render(request, "principles/detail.html", context | {
        "accuracy": selectors.accuracy_of(principle), "pairs": selectors.pairs_to_try(team=request.team)})


def _try_measure(request: TeamRequest, context: dict[str, Any]) -> HttpResponse:
    settings = context["latest"].version.settings
    form = context["form"] = MeasureTrialForm(request.POST, needs_reference=needs_reference(settings))
    if form.is_valid():
        context["trial"] = try_measure(settings, **form.cleaned_data)
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "principles/_try_measure.html", context)
    return _measured_page(request, context | {"accuracy": selectors.accuracy_of(context["principle"])})


def orders_disagree(p_shown: float | None, p_swapped: float | None) -> bool:
    """Whether the two orders name different winners."""
    return p_shown is not None and p_swapped is not None and (p_shown - 0.5) * (p_swapped - 0.5) < 0
