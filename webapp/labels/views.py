"""The Labels pages: the table with its filter, a pair side by side, and a person's decision on one label."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from webapp.accounts.middleware import TeamRequest
from webapp.labels import selectors, services
from webapp.labels.decisions import OPTIONS, decide, option, remember_option
from webapp.labels.differences import marked
from webapp.labels.forms import DecisionForm, LabelFilterForm
from webapp.labels.models import Label, Pair
from webapp.labels.uses import uses_of

PAGE = 50


def list_(request: TeamRequest) -> HttpResponse:
    """The table of labels, with its filter and a line of quality for each principle."""
    form = _filter(request)
    labels = selectors.labels_of(request.team, form.chosen) if form.is_valid() else Label.objects.none()
    page = Paginator(selectors.narrow(labels), PAGE).get_page(request.GET.get("page"))
    quality = selectors.quality_by_principle(request.team, labels)
    return render(request, "labels/list.html", {
        "form": form, "page": page, "query": urlencode(form.chosen), "is_filtered": bool(form.chosen or form.problems),
        "quality": quality, "overall": selectors.overall(quality),
        "may_review": services.may_review(request.user, request.team), "total": page.paginator.count,
    })


def label(request: TeamRequest, pk: int) -> HttpResponse:
    """A pair side by side with all its labels; this label can be decided."""
    viewed_label = get_object_or_404(Label.objects.of(request.team).select_related(
        "pair__text", "pair__dataset", "principle_version__principle", "reviewed_by"), pk=pk)
    place, query = _place(request, viewed_label)
    context = _pair_context(request, viewed_label.pair)
    options = {name: option(request, name) for name in OPTIONS}
    undecided = selectors.undecided_by(request.user, viewed_label.pair_id)
    hidden = undecided if context["may_review"] and options["blind"] else set()
    return render(request, "labels/label.html", context | {
        "label": viewed_label, "query": query, "place": place, "before": _address(place.previous, query),
        "after": _address(place.next, query), "changes": selectors.changes_of(viewed_label)[:20],
        "options": options, "hidden": hidden, "is_hidden": pk in hidden, "uses": uses_of(viewed_label),
    })


def pair(request: TeamRequest, pk: int) -> HttpResponse:
    """A pair side by side. Redirects to its first label if there is one."""
    viewed_pair = get_object_or_404(Pair.objects.of(request.team).select_related("text", "dataset"), pk=pk)
    first = selectors.labels_on(viewed_pair).first()
    if first is not None:
        return redirect("labels:label", first.pk)
    return render(request, "labels/label.html", _pair_context(request, viewed_pair))


@require_POST
def judge(request: TeamRequest, pk: int) -> HttpResponse:
    """One decision on one label, then the next label of the filter. Stays on the label if nothing was decided, if the
    decision was taken back, or if the reviewer wants to stay."""
    decided = get_object_or_404(Label.objects.of(request.team), pk=pk)
    _require_reviewer(request)
    place, query = _place(request, decided)
    here = _address(pk, query)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(str(message) for errors in form.errors.values() for message in errors))
        return redirect(here)
    try:
        outcome = decide(decided, form.cleaned_data, request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect(here)
    if form.cleaned_data["action"] == "undo" or option(request, "stay"):
        messages.success(request, outcome)
        return redirect(here)
    if place.next is None:
        messages.success(request, f"{outcome} This was the last label of the list.")
        return redirect(here)
    messages.success(request, format_html('{} <a href="{}" data-key="z">Back to it <kbd>z</kbd></a>', outcome, here))
    return redirect(_address(place.next, query))


@require_POST
def options(request: TeamRequest, pk: int) -> HttpResponse:
    """Switch what the page remembers: whether it stays on a label, and whether it hides the judge's answer."""
    switched = get_object_or_404(Label.objects.of(request.team), pk=pk)
    response = redirect(_address(switched.pk, urlencode(_filter(request).chosen)))
    for name in OPTIONS:
        if name in request.POST:
            remember_option(response, name, request.POST[name] == "1")
    return response


def _place(request: TeamRequest, at: Label) -> tuple[selectors.Place, str]:
    """Where a label stands in the filter of the address, and that filter as a query."""
    chosen = _filter(request).chosen
    labels = selectors.labels_of(request.team, chosen)
    return selectors.place_of(labels, at, chosen.get("sort", "")), urlencode(chosen)


def _filter(request: TeamRequest) -> LabelFilterForm:
    return LabelFilterForm(request.team, request.GET, selectors.filter_choices(request.team, request.GET))


def _require_reviewer(request: TeamRequest) -> None:
    if not services.may_review(request.user, request.team):
        raise PermissionDenied("Only members who are staff can review labels.")


def _pair_context(request: TeamRequest, viewed_pair: Pair) -> dict[str, Any]:
    text = viewed_pair.text
    pieces_a, pieces_b = marked(text.response_a, text.response_b)
    return {"pair": viewed_pair, "earlier": text.prompt[:-1], "last": text.prompt[-1:],
            "pieces_a": pieces_a, "pieces_b": pieces_b,
            "labels": selectors.labels_on(viewed_pair), "may_review": services.may_review(request.user, request.team)}


def _address(pk: int | None, query: str) -> str:
    if pk is None:
        return ""
    return reverse("labels:label", args=[pk]) + (f"?{query}" if query else "")
