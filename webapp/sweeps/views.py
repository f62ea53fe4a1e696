"""The list of sweeps, the page of one, and its actions. A sweep of another team gives 404."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from training.errors import TrainingError
from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.sweeps.front_page import FrontPage
from webapp.sweeps.models import Sweep
from webapp.sweeps.parallel import Parallel
from webapp.sweeps.selectors import SweepPage, sweep_rows, sweeps_of
from webapp.sweeps.services import sweep_cancel, sweep_change, sweep_continue, sweep_pause

PAGE = 25


@require_GET
def sweep_list(request: TeamRequest) -> HttpResponse:
    text = request.GET.get("q", "").strip()[:200]
    page = Paginator(sweeps_of(request.team, text), PAGE).get_page(request.GET.get("page"))
    return render(request, "sweeps/list.html", {"page": page, "rows": sweep_rows(list(page.object_list)), "q": text})


@require_GET
def detail(request: TeamRequest, pk: int) -> HttpResponse:
    return render(request, "sweeps/detail.html", _context(request, pk))


@require_GET
def live(request: TeamRequest, pk: int) -> HttpResponse:
    """What changes by itself: it loads itself again while a run is under way."""
    return render(request, "sweeps/_live.html", _context(request, pk))


def _context(request: TeamRequest, pk: int) -> dict[str, Any]:
    page = SweepPage(_sweep(request, pk))
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    return {"page": page, "sweep": page.sweep, "front": FrontPage(page, request.GET), "query": query,
            "parallel": Parallel(page.axes, page.points, request.GET)}


@require_POST
def pause(request: TeamRequest, pk: int) -> HttpResponse:
    sweep_pause(sweep=_sweep(request, pk), user=request.user)
    return redirect("sweeps:detail", pk)


@require_POST
def go_on(request: TeamRequest, pk: int) -> HttpResponse:
    started = sweep_continue(sweep=_sweep(request, pk), user=request.user)
    if started:
        messages.success(request, f"{len(started)} run{'' if len(started) == 1 else 's'} started.")
    return redirect("sweeps:detail", pk)


@require_POST
def cancel(request: TeamRequest, pk: int) -> HttpResponse:
    sweep = _sweep(request, pk)
    counts = SweepPage(sweep).counts
    question = ask_first(
        request, question=f"Cancel what is left of {sweep.name}?", button="Cancel the rest",
        back=reverse("sweeps:detail", args=[pk]), consequences=[
            f"{counts.waiting} waiting and {counts.under_way} running runs are cancelled. Finished runs stay, and so "
            "does every stage that is done: adding combinations later computes none of them again."])
    if question is not None:
        return question
    waiting, under_way = sweep_cancel(sweep=sweep, user=request.user)
    messages.success(request, f"{waiting} waiting and {under_way} running runs were cancelled.")
    return redirect("sweeps:detail", pk)


@require_POST
def change(request: TeamRequest, pk: int) -> HttpResponse:
    sweep, number = _sweep(request, pk), request.POST.get("at_a_time", "").strip()
    at_a_time = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else 0
    try:
        sweep_change(sweep=sweep, user=request.user, name=request.POST.get("name", ""), at_a_time=at_a_time)
    except TrainingError as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, "Saved.")
    return redirect("sweeps:detail", pk)


def _sweep(request: TeamRequest, pk: int) -> Sweep:
    return get_object_or_404(Sweep.objects.of(request.team).select_related("team", "created_by"), pk=pk)
