"""Pages of arenas: the list, a new one, one arena with its board."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.arena import boards, services
from webapp.arena.forms import ImportForm
from webapp.arena.models import Arena
from webapp.arena.selectors import arenas_of

SHOWN = 200  # arenas of the list, the newest


@require_safe
def arena_list(request: TeamRequest) -> HttpResponse:
    return render(request, "arena/list.html", {"arenas": arenas_of(request.team)[:SHOWN]})


@require_http_methods(["GET", "HEAD", "POST"])
def arena_import(request: TeamRequest) -> HttpResponse:
    form = ImportForm(request.POST or None, request.FILES or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        arena = services.arena_import(team=request.team, user=request.user, name=form.cleaned_data["name"],
                                      answers=form.answers, pairs=form.pairs)
        return redirect("arena:board", pk=arena.pk)
    return render(request, "arena/import.html", {"form": form})


@require_safe
def arena_board(request: TeamRequest, pk: int) -> HttpResponse:
    arena = get_object_or_404(arenas_of(request.team), pk=pk)
    entrants = list(arena.entrants.all())
    board = boards.board_of(entrants, boards.people_votes(arena, entrants))
    return render(request, "arena/board.html", {"arena": arena, "board": board, "least": boards.LEAST_VOTES})


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
