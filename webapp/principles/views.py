"""Principles: new ones, edits, the archive, and the stylesheet of their colours."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import open_to_annotators
from webapp.principles import hues as colours
from webapp.principles import selectors, services
from webapp.principles.forms import PrincipleForm
from webapp.principles.measure_fields import initial_of
from webapp.principles.models import Principle

MOST_PRINCIPLES = 64  # of a recipe


def principle_new(request: TeamRequest) -> HttpResponse:
    form = PrincipleForm(request.POST or None, team=request.team)
    if request.method == "POST" and form.is_valid() and not form.is_trial:
        principle = services.principle_create(team=request.team, user=request.user, **form.cleaned_data)
        messages.success(request, f"{principle.name} is created. " + (
            "Try it on two responses, or over a dataset." if form.cleaned_data["measure"]
            else "Try it on a pair before you buy labels for it."))
        return redirect("principles:detail", pk=principle.pk)
    return render(request, "principles/form.html", {"form": form})


def principle_edit(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(Principle.objects.of(request.team), pk=pk)
    latest = principle.versions.first()
    wording = principle.versions.filter(number=row_key(request.GET.get("from"))).first() or latest
    initial = {"statement": wording.statement if wording and not wording.measure else "",
               "polarity": principle.polarity, "description": principle.description, "symbol": principle.symbol,
               "hue": principle.hue,
               **initial_of(wording.settings if wording else {})}
    form = PrincipleForm(request.POST or None, team=request.team, principle=principle, initial=initial)
    if request.method == "POST" and form.is_valid() and not form.is_trial:
        version = services.principle_edit(principle=principle, user=request.user, **form.cleaned_data)
        messages.success(request, f"Saved as version {version.number}. Existing runs keep their version."
                         if version else "Saved. What decides is unchanged, so there is no new version.")
        return redirect("principles:detail", pk=principle.pk)
    labels = latest.labels.count() if latest else 0
    return render(request, "principles/form.html", {"form": form, "principle": principle, "latest": latest,
                                                    "labels": labels})


@require_POST
def principle_archive(request: TeamRequest, pk: int) -> HttpResponse:
    principle = get_object_or_404(Principle.objects.of(request.team), pk=pk)
    archived = request.POST.get("archived") == "1"
    services.principle_archive(principle=principle, archived=archived)
    messages.success(request, f"{principle.name} is archived: it is not offered in new runs. Existing runs keep it."
                     if archived else f"{principle.name} is restored.")
    return redirect("principles:detail", pk=principle.pk)


@open_to_annotators
@require_safe
@cache_control(private=True, no_cache=True)
@conditional_page
def hues(request: TeamRequest) -> HttpResponse:
    """`.hue-NAME` for every principle of the team, and for the names that `also` lists, separated by commas."""
    also = request.GET.get("also", "").split(",")[:MOST_PRINCIPLES]
    return HttpResponse(colours.stylesheet(selectors.hues(team=request.team, also=also)), content_type="text/css")
