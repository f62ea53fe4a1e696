"""Pages of heads to heads: a new one with its price, one that runs or is done. Another team's gives 404."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.principles.selectors import principles_by_name
from webapp.runs.head_to_head import services
from webapp.runs.head_to_head.planning import plan_of
from webapp.runs.head_to_head.results import result_of
from webapp.runs.models import HeadToHead, Run


@require_http_methods(["GET", "HEAD", "POST"])
def head_to_head_new(request: TeamRequest) -> HttpResponse:
    """The choice of questions, judge and prompts, with what it will cost; a post starts it."""
    query = request.POST if request.method == "POST" else request.GET
    runs = _runs(request, query)
    try:
        plan = plan_of(team=request.team, runs=runs, query=query)
    except TrainingError as problem:
        return render(request, "runs/head_to_head_new.html", {"problem": problem, "runs": runs}, status=400)
    if request.method == "POST":
        contest = services.head_to_head_start(team=request.team, user=request.user, plan=plan)
        return redirect("runs:head_to_head", contest.pk)
    return render(request, "runs/head_to_head_new.html", {
        "plan": plan, "runs": runs, "principles": principles_by_name(request.team)})


@require_safe
def head_to_head(request: TeamRequest, pk: int) -> HttpResponse:
    return render(request, "runs/head_to_head.html", _context(request, pk))


@require_safe
def head_to_head_state(request: TeamRequest, pk: int) -> HttpResponse:
    """The part of the page that loads itself again."""
    return render(request, "runs/_head_to_head.html", _context(request, pk))


@require_POST
def head_to_head_cancel(request: TeamRequest, pk: int) -> HttpResponse:
    services.head_to_head_cancel(contest=_contest(request, pk))
    return redirect("runs:head_to_head", pk)


@require_POST
def head_to_head_again(request: TeamRequest, pk: int) -> HttpResponse:
    services.head_to_head_again(contest=_contest(request, pk))
    return redirect("runs:head_to_head", pk)


def _context(request: TeamRequest, pk: int) -> dict[str, Any]:
    order = _numbers(request.GET)
    return {"result": result_of(_contest(request, pk), principles_by_name(request.team), order),
            "address": "?" + "&".join(f"run={number}" for number in order) if order else ""}


def _contest(request: TeamRequest, pk: int) -> HeadToHead:
    return get_object_or_404(HeadToHead.objects.of(request.team).select_related("created_by"), pk=pk)


def _runs(request: TeamRequest, query: QueryDict) -> list[Run]:
    """The team's runs that the query names, in its order; what names none of them is left out."""
    numbers = _numbers(query)
    runs = Run.objects.of(request.team).in_bulk(numbers)
    return [runs[number] for number in numbers if number in runs]


def _numbers(query: QueryDict) -> list[int]:
    return list(dict.fromkeys(number for text in query.getlist("run") if (number := row_key(text)) is not None))[:50]
