"""Pages to compare two wordings of a principle, or two judges on one wording: the form and the results."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.judges import comparisons
from webapp.judges.forms import ComparisonForm
from webapp.judges.models import Comparison
from webapp.principles.models import Principle

ASKED_ABOUT = 100  # calls of a judge that are made without a question
SHOWN = 20  # comparisons of before


@require_http_methods(["GET", "HEAD", "POST"])
def principle_compare(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(Principle.objects.of(request.team), pk=pk)
    latest = principle.versions.first()
    statement = latest.statement if latest else ""
    form = ComparisonForm(request.POST or None, team=request.team,
                          initial={"statement_a": statement, "statement_b": statement})
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        question = _ask_before_spending(request, form, principle)
        if question is not None:
            return question
        comparison = comparisons.comparison_start(
            team=request.team, user=request.user, principle=principle, statement_a=values["statement_a"],
            statement_b=values["statement_b"], judges=form.judges, pairs=values["pairs"], dataset=values["dataset"])
        if comparison:
            return redirect("judges:comparison_detail", pk=comparison.pk)
        form.add_error("dataset", "There are no pairs yet. Import a dataset with chosen and rejected responses, or "
                                  "start a run: it samples pairs.")
    earlier = Comparison.objects.of(request.team).filter(principle=principle).select_related("created_by")[:SHOWN]
    return render(request, "judges/compare.html", {"form": form, "principle": principle, "latest": latest,
                                                   "earlier": earlier})


@require_safe
def comparison_detail(request: TeamRequest, pk: int) -> HttpResponse:
    return render(request, "judges/comparison.html", _context(request, pk))


@require_safe
def comparison_state(request: TeamRequest, pk: int) -> HttpResponse:
    """The part of the page that reloads itself until all answers are there."""
    return render(request, "judges/_comparison.html", _context(request, pk))


@require_POST
def comparison_again(request: TeamRequest, pk: int) -> HttpResponse:
    comparison = get_object_or_404(Comparison.objects.of(request.team), pk=pk)
    if not comparisons.comparison_again(comparison=comparison):
        messages.error(request, "This comparison is still running, or done.")
    return redirect("judges:comparison_detail", pk=pk)


@require_POST
def comparison_adopt(request: TeamRequest, pk: int) -> HttpResponse:
    """Make the new wording of a comparison the principle's next version."""
    comparison = get_object_or_404(Comparison.objects.of(request.team).select_related("principle"), pk=pk)
    version = comparisons.comparison_adopt(comparison=comparison, user=request.user)
    if version is None:
        messages.info(request, "This wording is the principle’s latest version already.")
    else:
        messages.success(request, f"The new wording is version {version.number} of {comparison.principle.name}. New "
                                  "runs use it and ask for its labels; labels of earlier versions stay.")
    return redirect("principles:detail", comparison.principle_id)


def _context(request: TeamRequest, pk: int) -> dict[str, Any]:
    comparisons_of_team = Comparison.objects.of(request.team).select_related("principle", "created_by")
    comparison = get_object_or_404(comparisons_of_team, pk=pk)
    latest = comparison.principle.versions.first()
    return {"comparison": comparison, "principle": comparison.principle, "result": comparisons.result_of(comparison),
            "can_adopt": not comparison.of_judges and (not latest or latest.statement != comparison.statement_b),
            "under_way": comparison.status in {Comparison.Status.QUEUED, Comparison.Status.RUNNING}}


def _ask_before_spending(request: TeamRequest, form: ComparisonForm, principle: Principle) -> HttpResponse | None:
    """The confirmation page before many calls; None if there are few, they are free, or the user has confirmed."""
    judges = [judge for judge, _ in form.judges]
    cleaned = form.cleaned_data
    pairs = comparisons.pair_count(team=request.team, dataset=cleaned["dataset"], most=cleaned["pairs"])
    calls = sum(pairs * (2 if judge.both_orders else 1) * (2 if len(judges) == 1 else 1)
                for judge in judges if judge.kind != "rule")
    if calls <= ASKED_ABOUT:
        return None
    return ask_first(
        request, question=f"Ask the judge up to {calls:,} times?", button=f"Ask up to {calls:,} times",
        back=reverse("judges:principle_compare", args=[principle.pk]),
        consequences=[f"{pairs:,} pairs are shown to {' and '.join(title for _, title in form.judges)}.",
                      "Pairs that are already labelled are not asked about again, so it may be fewer calls."])
