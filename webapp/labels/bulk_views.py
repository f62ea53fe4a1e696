"""Pages for actions on many labels: confirmation with the count, progress, list, and undo."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.labels import bulk, selectors, services
from webapp.labels.forms import LabelFilterForm
from webapp.labels.models import BulkAction

PAGE = 50
ASKABLE = {kind.value for kind in (BulkAction.Kind.APPROVE, BulkAction.Kind.REJECT, BulkAction.Kind.TAKE_BACK)}


@require_http_methods(["GET", "POST"])
def bulk_new(request: TeamRequest) -> HttpResponse:
    """Act on all labels that match the filter in the address; many, or decided ones, only after a confirmation."""
    _require_reviewer(request)
    kind = request.POST.get("kind", "") or request.GET.get("kind", "")
    if kind not in ASKABLE:
        raise PermissionDenied(f"“{kind[:40]}” is not possible: labels can be approved, rejected, or have their last "
                               "decision taken back.")
    form = LabelFilterForm(request.team, request.GET, selectors.filter_choices(request.team, request.GET))
    if problems := [*form.problems, *form.unread({"kind", "page"})]:
        messages.error(request, " ".join([*problems, "Nothing was changed."]))
        return redirect("labels:list")
    action = bulk.draft(team=request.team, by=request.user, kind=BulkAction.Kind(kind), filters=form.chosen,
                        includes_decided="decided" in request.POST, up_to=row_key(request.POST.get("up_to")),
                        batch=request.POST.get("batch", ""))
    if request.method == "POST" and ("confirmed" in request.POST or not bulk.asks(action)):
        try:
            return _started(request, bulk.start(action=action), form)
        except IntegrityError:  # the answer to one question, sent twice
            return redirect("labels:bulk_list")
    return render(request, "labels/bulk_ask.html", {
        "action": action, "decided": bulk.decided_count(action), "in_words": form.in_words,
        "query": urlencode(form.chosen)})


@require_GET
def bulk_list(request: TeamRequest) -> HttpResponse:
    actions = BulkAction.objects.of(request.team).select_related("by", "undoes", "undone_by")
    page = Paginator(actions, PAGE).get_page(request.GET.get("page"))
    return render(request, "labels/bulk_list.html", {
        "page": page, "may_review": services.may_review(request.user, request.team)})


@require_GET
def bulk_detail(request: TeamRequest, pk: int) -> HttpResponse:
    """One action; an open page polls its progress."""
    template = "labels/_bulk_progress.html" if request.headers.get("HX-Request") else "labels/bulk.html"
    return render(request, template, {"action": _action(request, pk),
                                      "may_review": services.may_review(request.user, request.team)})


@require_http_methods(["GET", "POST"])
def bulk_undo(request: TeamRequest, pk: int) -> HttpResponse:
    """Undo an action; one on many labels only after a confirmation."""
    action = _action(request, pk)
    _require_reviewer(request)
    if request.method == "POST" and ("confirmed" in request.POST or action.changed <= bulk.MOST_AT_ONCE):
        try:
            return _started(request, bulk.undo(action=action, by=request.user), None)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
            return redirect("labels:bulk_detail", action.pk)
    return render(request, "labels/bulk_undo_ask.html", {"action": action})


@require_POST
def bulk_hide(request: TeamRequest, pk: int) -> HttpResponse:
    """Hide the notice of the user's own action; it stays in the list."""
    action = _action(request, pk)
    BulkAction.objects.filter(pk=action.pk, by=request.user).update(hidden=True)
    return redirect("labels:bulk_list")


def _started(request: TeamRequest, action: BulkAction, form: LabelFilterForm | None) -> HttpResponse:
    """Redirect to the table after a small action, or to the progress of a large one."""
    if action.is_active or action.status == BulkAction.Status.FAILED:
        return redirect("labels:bulk_detail", action.pk)
    query = urlencode(form.chosen) if form else ""
    return redirect(reverse("labels:list") + (f"?{query}" if query else ""))


def _action(request: TeamRequest, pk: int) -> BulkAction:
    actions = BulkAction.objects.of(request.team).select_related("by", "undoes", "undone_by")
    return get_object_or_404(actions, pk=pk)


def _require_reviewer(request: TeamRequest) -> None:
    if not services.may_review(request.user, request.team):
        raise PermissionDenied("Only members who are staff can review labels.")
