"""Pages of principles: the list, one principle with its versions, and trying it on a pair."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.judges import trial
from webapp.judges.trial_form import TrialForm
from webapp.labels.models import Pair
from webapp.principles.models import Principle
from webapp.runs.principle_page import selectors


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
    return render(request, "principles/detail.html", {
        "principle": principle, "latest": wordings[0] if wordings else None, "wordings": wordings,
        "accuracy": selectors.accuracy_of(principle), "report": getattr(principle, "report", None) or {},
        "form": TrialForm(initial=_pair_to_try(request) | {"kind": "rule"}, team=request.team),
        "pairs": selectors.pairs_to_try(team=request.team),
    })


def _pair_to_try(request: TeamRequest) -> dict[str, str]:
    """The pair that the address names, else the demo world's example."""
    number = request.GET.get("pair", "")
    if not number:
        return trial.example()
    pair = get_object_or_404(Pair.objects.of(request.team).select_related("text"), pk=row_key(number))
    return trial.of_pair(pair)


@require_POST
def principle_try(request: TeamRequest, pk: int) -> HttpResponse:
    """The judge's verdict on the pair in the form: a fragment for htmx, else the whole page."""
    principle = get_object_or_404(selectors.principle_detail(team=request.team), pk=pk)
    wordings = selectors.wordings(principle=principle)
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


def orders_disagree(p_shown: float | None, p_swapped: float | None) -> bool:
    """Whether the two orders name different winners."""
    return p_shown is not None and p_swapped is not None and (p_shown - 0.5) * (p_swapped - 0.5) < 0
