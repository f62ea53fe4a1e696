"""A person's queue: a form that works as it is, and JSON for the script that never waits for the server."""

from __future__ import annotations

import math

from django.contrib import messages
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import open_to_annotators
from webapp.review import deciding, selectors
from webapp.review.models import UNDO, ReviewAssignment, ReviewItem

MOST_PRESENT = 500  # keys that a page may name


@open_to_annotators
@require_http_methods(["GET", "HEAD", "POST"])
def queue(request: TeamRequest, pk: int) -> HttpResponse:
    assignment = get_object_or_404(ReviewAssignment.objects.of(request.team), pk=pk)
    progress = selectors.progress_by_assignment([assignment], request.user).get(pk)
    if progress is None:
        if request.membership.is_annotator or request.method == "POST":
            raise Http404("Nothing in this assignment is this person's.")
        return redirect("review:detail", pk=pk)
    if request.method != "POST":
        return render(request, "review/queue.html", {
            "assignment": assignment, "items": selectors.queue_of(assignment, request.user), "progress": progress})
    as_json = request.headers.get("Accept") == "application/json"
    try:
        item = _act(request, assignment)
    except deciding.DecisionRefused as refusal:
        if as_json:
            return JsonResponse({"refused": str(refusal)}, status=409)
        messages.error(request, str(refusal))
        return redirect("review:queue", pk=pk)
    is_undone = request.POST.get("outcome") == UNDO
    judged = "" if is_undone else selectors.judge_in_words(item.label)
    if as_json:
        return _next_items(request, assignment, item if is_undone else None, judged)
    messages.success(request, "The last decision is taken back." if is_undone else f"Saved. The judge said: {judged}.")
    return redirect("review:queue", pk=pk)


def _act(request: TeamRequest, assignment: ReviewAssignment) -> ReviewItem:
    """Record what the form says. Returns the item that it is about.

    Raises:
        DecisionRefused: it is not recorded.
    """
    outcome, key = request.POST.get("outcome", ""), request.POST.get("key", "")
    if outcome == UNDO:
        undone = deciding.undo(assignment=assignment, user=request.user, key=key)
        if undone is None:
            raise deciding.DecisionRefused("There is no decision to take back.")
        return undone
    mine = ReviewItem.objects.filter(assignment=assignment, user=request.user).select_related("assignment", "label")
    number = row_key(request.POST.get("item"))
    item = None if number is None else mine.filter(pk=number).first()
    if item is None:
        raise deciding.DecisionRefused("This pair is not in your queue. Reload the page for the next one.")
    deciding.decide(item=item, user=request.user, value=outcome, key=key, seconds=_seconds(request.POST.get("seconds")))
    return item


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _next_items(request: TeamRequest, assignment: ReviewAssignment, undone: ReviewItem | None,
                judged: str) -> JsonResponse:
    """The pairs that the page has not got yet, as HTML, the new progress, and what the judge said of this pair."""
    present = set(request.POST.get("present", "").split(",")[:MOST_PRESENT])
    shown = row_key(request.POST.get("shown")) or 0
    items = selectors.queue_of(assignment, request.user, present, shown)
    if undone is not None and not any(item.item == undone.pk for item in items):  # the page is full, and shows it first
        items = [*selectors.queue_of(assignment, request.user)[:1], *items]
    progress = selectors.progress_by_assignment([assignment], request.user)[assignment.pk]
    return JsonResponse({
        "pairs": [render_to_string("review/_item.html", {"item": item, "is_later": True}) for item in items],
        "undone": undone.pk if undone else None, "last": judged,
        "summary": render_to_string("review/_progress.html", {"progress": progress})})
