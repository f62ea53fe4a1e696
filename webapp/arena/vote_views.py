"""The page on which people vote: a form that works as it is, and JSON for the script that votes without waiting."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods

from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import open_to_annotators
from webapp.arena import voting
from webapp.arena.models import Arena, Ballot, Side
from webapp.arena.selectors import shown_pairs, summary_of
from webapp.arena.serving import ballots_for


@open_to_annotators
@require_http_methods(["GET", "HEAD", "POST"])
def vote(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(Arena.objects.of(request.team), pk=pk)
    if request.method != "POST":
        pairs = shown_pairs(ballots_for(arena=arena, user=request.user))
        return render(request, "arena/vote.html", {
            "arena": arena, "pairs": pairs, "principles": arena.principles.all(), "reasons": voting.REASONS,
            "sides": Side.choices, "summary": summary_of(arena=arena, user=request.user)})
    as_json = request.headers.get("Accept") == "application/json"
    try:
        undone = _act(request, arena)
    except voting.VoteRefused as refusal:
        if as_json:
            return JsonResponse({"refused": str(refusal)}, status=409)
        messages.error(request, str(refusal))
        return redirect("arena:vote", pk=pk)
    return _next_pairs(request, arena, undone) if as_json else redirect("arena:vote", pk=pk)


def _act(request: TeamRequest, arena: Arena) -> Ballot | None:
    """Record what the form says. Returns the ballot that was taken back, if one was.

    Raises:
        VoteRefused: it is not recorded.
    """
    outcome, number = request.POST.get("outcome", ""), request.POST.get("ballot", "")
    if outcome == "undo":
        undone = _undone_already(request, arena) or voting.undo(arena=arena, user=request.user)
        if undone is None:
            raise voting.VoteRefused("There is no vote to take back.")
        return undone
    mine = Ballot.objects.filter(pairing__arena=arena, user=request.user).select_related("pairing__arena")
    ballot = mine.filter(pk=int(number)).first() if number.isascii() and number.isdigit() and len(number) < 16 else None
    if ballot is None:
        raise voting.VoteRefused("This pair is no longer on your list. Reload the page for the next one.")
    by_principle = {int(name.removeprefix("principle-")): side for name, side in request.POST.items()
                    if name.startswith("principle-") and name.removeprefix("principle-").isdecimal()
                    and len(name) < 28 and isinstance(side, str) and side}
    voting.vote(ballot=ballot, outcome=outcome, reason=str(request.POST.get("reason", "")), by_principle=by_principle)
    return None


def _undone_already(request: TeamRequest, arena: Arena) -> Ballot | None:
    """The ballot that this undo is about, if it is open again: the same request came before and its answer got lost."""
    mine = Ballot.objects.filter(pairing__arena=arena, user=request.user, outcome=Ballot.Outcome.OPEN)
    number = row_key(request.POST.get("undone"))
    return None if number is None else mine.select_related("pairing__prompt").filter(pk=number).first()


def _next_pairs(request: TeamRequest, arena: Arena, undone: Ballot | None) -> JsonResponse:
    """The pairs that the page has not got yet, as HTML, and the new summary."""
    present = set(request.POST.get("present", "").split(","))
    pairs = [pair for pair in shown_pairs(ballots_for(arena=arena, user=request.user))
             if str(pair.ballot) not in present]
    summary = summary_of(arena=arena, user=request.user)
    return JsonResponse({
        "pairs": [render_to_string("arena/_pair.html", {"pair": pair}) for pair in pairs],
        "undone": undone.pk if undone else None,
        "summary": render_to_string("arena/_summary.html", {"summary": summary})})
