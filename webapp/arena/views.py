"""Pages of arenas: the list, a new one, one arena with its board."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.roles import open_to_annotators
from webapp.arena import answering, boards, comparing, services
from webapp.arena.forms import ImportForm, NewArenaForm
from webapp.arena.models import Arena, ArenaAnswer, Entrant
from webapp.arena.selectors import arenas_of, open_arenas
from webapp.arena.vote_weights import vote_weights

SHOWN = 200  # arenas of the list, the newest


@open_to_annotators
@require_safe
def arena_list(request: TeamRequest) -> HttpResponse:
    if request.membership.is_annotator:
        return render(request, "arena/open.html", {"arenas": open_arenas(request.team)[:SHOWN]})
    return render(request, "arena/list.html", {"arenas": arenas_of(request.team)[:SHOWN]})


@require_http_methods(["GET", "HEAD", "POST"])
def arena_import(request: TeamRequest) -> HttpResponse:
    form = ImportForm(request.POST or None, request.FILES or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        arena = services.arena_import(team=request.team, user=request.user, name=form.cleaned_data["name"],
                                      answers=form.answers, pairs=form.pairs)
        return redirect("arena:board", pk=arena.pk)
    return render(request, "arena/import.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def arena_new(request: TeamRequest) -> HttpResponse:
    form = NewArenaForm(request.POST or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        arena = answering.arena_create(
            team=request.team, user=request.user, name=values["name"], policies=form.policies, prompts=form.prompts,
            pairs=form.pairs, temperature=values["temperature"], max_new_tokens=values["max_new_tokens"],
            seed=values["seed"], scorer=values["scorer"])
        return redirect("arena:board", pk=arena.pk)
    return render(request, "arena/new.html", {"form": form})


@require_safe
def arena_progress(request: TeamRequest, pk: int) -> HttpResponse:
    """The part of the page that reloads itself until all answers are there."""
    arena = get_object_or_404(Arena.objects.of(request.team), pk=pk)
    done, total = answering.progress_of(arena)
    answer = render(request, "arena/_progress.html", {"arena": arena, "done": done, "total": total})
    if not arena.is_answering:
        answer["HX-Refresh"] = "true"
    return answer


@require_POST
def arena_again(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(Arena.objects.of(request.team), pk=pk)
    if not answering.answers_again(arena=arena):
        messages.error(request, "The answers are being made, or they are there already.")
    return redirect("arena:board", pk=pk)


@require_POST
def arena_cancel(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(Arena.objects.of(request.team), pk=pk)
    if not answering.answers_cancel(arena=arena):
        messages.error(request, "The answers are not being made, so there is nothing to cancel.")
    return redirect("arena:board", pk=pk)


@require_safe
def arena_board(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(arenas_of(request.team), pk=pk)
    if arena.status != Arena.Status.READY:
        done, total = answering.progress_of(arena)
        return render(request, "arena/board.html", {"arena": arena, "done": done, "total": total})
    entrants = list(arena.entrants.all())
    return render(request, "arena/board.html", {"arena": arena, "least": boards.LEAST_VOTES,
                                                **_board(request, arena, entrants)})


def _board(request: TeamRequest, arena: Arena, entrants: list[Entrant]) -> dict[str, Any]:
    """The board that the query asks for: of one principle (`by`), with length taken out (`length`)."""
    principles = list(arena.principles.all())
    principle = next((one for one in principles if str(one.pk) == request.GET.get("by")), None)
    no_length = request.GET.get("length") == "1"
    has_rewards = ArenaAnswer.objects.filter(entrant__arena=arena).exclude(reward=None, scores={}).exists()
    length: tuple[float, float, float] | None = None
    pairs = (comparing.voted_pairs(arena, entrants, principle) if has_rewards or no_length or principle else [])
    if no_length and pairs:
        board, length = comparing.board_without_length(entrants, pairs)
    elif principle:
        board = comparing.people_board(entrants, pairs)
    else:
        board = boards.board_of(entrants, boards.people_votes(arena, entrants))
    return {"board": board, "principles": principles, "principle": principle, "no_length": no_length, "length": length,
            "rewards": comparing.rewards_board(entrants, pairs), "people": comparing.people_agreement(arena),
            "has_scores": has_rewards and ArenaAnswer.objects.filter(entrant__arena=arena).exclude(scores={}).exists()}


@require_safe
def arena_weights(request: TeamRequest, pk: int) -> HttpResponse:
    """Weights fitted to the votes: the part of the board's page that comes later, or a page of its own."""
    arena = get_object_or_404(Arena.objects.of(request.team).select_related("scorer"), pk=pk)
    part = "arena/_weights.html" if request.headers.get("HX-Request") else "arena/weights.html"
    return render(request, part, {"arena": arena, "weights": vote_weights(arena)})


@require_POST
def arena_open(request: TeamRequest, pk: int) -> HttpResponse:
    """Open or close the voting."""
    arena = get_object_or_404(Arena.objects.of(request.team), pk=pk)
    services.arena_open(arena=arena, is_open=request.POST.get("open") == "1")
    return redirect("arena:board", pk=pk)


@require_POST
def arena_delete(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(arenas_of(request.team), pk=pk)
    question = ask_first(request, question=f"Delete the arena “{arena.name}”?", button="Delete the arena",
                         back=reverse("arena:board", args=[pk]),
                         consequences=[f"Its answers and {arena.votes or 0:,} votes are deleted.",
                                       "The runs and datasets that it was made from stay."])
    if question is not None:
        return question
    services.arena_delete(arena=arena)
    messages.success(request, f"The arena “{arena.name}” is deleted.")
    return redirect("arena:list")
