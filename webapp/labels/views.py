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
from django.views.decorators.http import require_POST

from webapp.accounts.middleware import TeamRequest
from webapp.labels import selectors, services
from webapp.labels.decisions import decide
from webapp.labels.differences import marked
from webapp.labels.forms import DecisionForm, LabelFilterForm
from webapp.labels.models import Label, Pair

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
    form = _filter(request)
    chosen = form.chosen
    before, after = selectors.neighbours(selectors.labels_of(request.team, chosen), viewed_label,
                                         chosen.get("sort", ""))
    query = urlencode(chosen)
    return render(request, "labels/label.html", _pair_context(request, viewed_label.pair) | {
        "label": viewed_label, "query": query, "before": _address(before, query), "after": _address(after, query),
        "changes": selectors.changes_of(viewed_label)[:20],
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
    """One decision on one label."""
    decided = get_object_or_404(Label.objects.of(request.team), pk=pk)
    _require_reviewer(request)
    form = DecisionForm(request.POST)
    if form.is_valid():
        try:
            messages.success(request, decide(decided, form.cleaned_data, request.user))
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    else:
        messages.error(request, " ".join(str(message) for errors in form.errors.values() for message in errors))
    return redirect(_address(pk, urlencode(_filter(request).chosen)))


def _filter(request: TeamRequest) -> LabelFilterForm:
    return LabelFilterForm(request.team, request.GET, selectors.filter_choices(request.team, request.GET))


def _require_reviewer(request: TeamRequest) -> None:
    if not services.may_review(request.user, request.team):
        raise PermissionDenied("Only members who are staff can review labels.")


def _pair_context(request: TeamRequest, viewed_pair: Pair) -> dict[str, Any]:
    text = viewed_pair.text
    pieces_a, pieces_b = marked(text.response_a, text.response_b)
    return {"pair": viewed_pair, "prompt": text.prompt, "pieces_a": pieces_a, "pieces_b": pieces_b,
            "labels": selectors.labels_on(viewed_pair), "may_review": services.may_review(request.user, request.team)}


def _address(pk: int | None, query: str) -> str:
    if pk is None:
        return ""
    return reverse("labels:label", args=[pk]) + (f"?{query}" if query else "")
