"""Principles: the list, one principle with its versions, edits, trying one out, and the stylesheet of their colours."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.labels.models import Pair
from webapp.principles import hues as colours
from webapp.principles import selectors, services, trial
from webapp.principles.forms import PrincipleForm, TrialForm
from webapp.principles.models import Principle


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


def principle_new(request: TeamRequest) -> HttpResponse:
    form = PrincipleForm(request.POST or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        principle = services.principle_create(team=request.team, user=request.user, **form.cleaned_data)
        messages.success(request, f"{principle.name} is there. Try it on a pair before you spend labels on it.")
        return redirect("principles:detail", pk=principle.pk)
    return render(request, "principles/form.html", {"form": form})


def principle_edit(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(Principle.objects.of(request.team), pk=pk)
    latest = principle.versions.first()
    wording = principle.versions.filter(number=row_key(request.GET.get("from"))).first() or latest
    initial = {"statement": wording.statement if wording else "", "polarity": principle.polarity,
               "description": principle.description, "symbol": principle.symbol, "hue": principle.hue}
    form = PrincipleForm(request.POST or None, team=request.team, principle=principle, initial=initial)
    if request.method == "POST" and form.is_valid():
        version = services.principle_edit(principle=principle, user=request.user, **form.cleaned_data)
        messages.success(request, f"This is version {version.number} now. Runs that exist keep theirs."
                         if version else "Saved. The wording is the same, so the version is too.")
        return redirect("principles:detail", pk=principle.pk)
    labels = selectors.label_count(version=latest)
    return render(request, "principles/form.html", {"form": form, "principle": principle, "latest": latest,
                                                    "labels": labels})


@require_POST
def principle_archive(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(Principle.objects.of(request.team), pk=pk)
    archived = request.POST.get("archived") == "1"
    services.principle_archive(principle=principle, archived=archived)
    messages.success(request, f"{principle.name} is archived: new runs do not offer it, old ones keep it."
                     if archived else f"{principle.name} is back.")
    return redirect("principles:detail", pk=principle.pk)


@require_POST
def principle_try(request: TeamRequest, pk: int) -> HttpResponse:
    """The judge's word on the pair in the form: a fragment for htmx, the whole page without."""
    principle = get_object_or_404(selectors.principle_detail(team=request.team), pk=pk)
    wordings = selectors.wordings(principle=principle)
    form = TrialForm(request.POST, team=request.team)
    context = {"principle": principle, "form": form, "wordings": wordings, "latest": wordings[0] if wordings else None}
    if form.is_valid() and wordings:
        texts = {key: form.cleaned_data[key] for key in ("prompt", "a", "b")}
        context["verdict"] = trial.try_principle(team=request.team, judge=form.judge, principle=principle.name,
                                                 statement=wordings[0].version.statement, **texts)
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "principles/_try.html", context)
    return render(request, "principles/detail.html", context | {
        "accuracy": selectors.accuracy_of(principle), "pairs": selectors.pairs_to_try(team=request.team)})


@require_safe
@cache_control(private=True, no_cache=True)
@conditional_page
def hues(request: TeamRequest) -> HttpResponse:
    """`.hue-NAME` for every principle of the team."""
    return HttpResponse(colours.stylesheet(selectors.hues(team=request.team)), content_type="text/css")
