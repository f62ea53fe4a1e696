"""Pages of fronts: the list, a new one with what it takes, one that is under way or done. Another team's gives 404."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from training.errors import TrainingError
from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.fronts import services
from webapp.fronts.models import PolicyFront
from webapp.fronts.planning import plan_of
from webapp.fronts.results import FrontPage
from webapp.playground.selectors import policies_of
from webapp.runs.models import Run

PAGE = 25


@require_safe
def front_list(request: TeamRequest) -> HttpResponse:
    fronts = PolicyFront.objects.of(request.team).select_related("run", "created_by").annotate(
        size=Count("points"), still_open=Count("points", filter=Q(points__outcomes={}))).order_by("-pk")
    return render(request, "fronts/list.html", {"page": Paginator(fronts, PAGE).get_page(request.GET.get("page"))})


@require_http_methods(["GET", "HEAD", "POST"])
def front_new(request: TeamRequest) -> HttpResponse:
    """The choice of policies, questions and prompts, with what they take; a post starts it. Without a run, its
    choice."""
    query = request.POST if request.method == "POST" else request.GET
    number = row_key(query.get("run", ""))
    if number is None:
        return render(request, "fronts/new.html", {"choices": policies_of(request.team.pk).runs})
    run = get_object_or_404(Run.objects.of(request.team), pk=number)
    try:
        plan = plan_of(team=request.team, run=run, query=query)
    except TrainingError as problem:
        return render(request, "fronts/new.html", {"problem": problem, "run": run}, status=400)
    if request.method == "POST" and not plan.problems:
        return redirect("fronts:detail", services.front_start(team=request.team, user=request.user, plan=plan).pk)
    status = 400 if request.method == "POST" else 200
    return render(request, "fronts/new.html", {"plan": plan, "run": run}, status=status)


@require_safe
def detail(request: TeamRequest, pk: int) -> HttpResponse:
    return render(request, "fronts/detail.html", _context(request, pk))


@require_safe
def state(request: TeamRequest, pk: int) -> HttpResponse:
    """The part of the page that loads itself again."""
    return render(request, "fronts/_state.html", _context(request, pk))


@require_POST
def cancel(request: TeamRequest, pk: int) -> HttpResponse:
    services.front_cancel(front=_front(request, pk))
    return redirect("fronts:detail", pk)


@require_POST
def again(request: TeamRequest, pk: int) -> HttpResponse:
    services.front_again(front=_front(request, pk))
    return redirect("fronts:detail", pk)


@require_POST
def delete(request: TeamRequest, pk: int) -> HttpResponse:
    front = _front(request, pk)
    question = ask_first(
        request, question=f"Delete the front “{front.name}”?", back=reverse("fronts:detail", args=[pk]),
        button="Delete the front", consequences=["Its answers and win rates are deleted. The policies stay.",
                                                 "The verdicts stay: nothing that was bought is bought again."])
    if question is not None:
        return question
    services.front_delete(front=front)
    messages.success(request, f"The front “{front.name}” is deleted.")
    return redirect("fronts:list")


def _context(request: TeamRequest, pk: int) -> dict[str, Any]:
    page = FrontPage(_front(request, pk), request.GET)
    return {"page": page, "row": page.row, "lines": page.lines,
            "query": f"?{request.GET.urlencode()}" if request.GET else ""}


def _front(request: TeamRequest, pk: int) -> PolicyFront:
    return get_object_or_404(PolicyFront.objects.of(request.team).select_related("run", "created_by"), pk=pk)
