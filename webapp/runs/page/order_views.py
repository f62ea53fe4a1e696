"""Pausing, resuming and cancelling a run, going on past a check, and its place in the order: actions of the pages."""

from __future__ import annotations

from typing import cast, get_args

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import Run
from webapp.runs.services import Move, run_cancel, run_go_on, run_move, run_pause, run_resume


@require_POST
def cancel(request: TeamRequest, pk: int) -> HttpResponse:
    run_cancel(run=_run(request, pk), user=request.user)
    return _back(request, pk)


@require_POST
def resume(request: TeamRequest, pk: int) -> HttpResponse:
    try:
        run_resume(run=_run(request, pk), user=request.user)
    except TrainingError as error:
        messages.error(request, str(error))
    return _back(request, pk)


@require_POST
def go_on(request: TeamRequest, pk: int) -> HttpResponse:
    try:
        turned_off = run_go_on(run=_run(request, pk), user=request.user)
    except TrainingError as error:
        messages.error(request, str(error))
    else:
        if turned_off:
            messages.success(request, f"Run {pk} goes on; {' and '.join(turned_off)} no longer stops it.")
    return _back(request, pk)


@require_POST
def pause(request: TeamRequest, pk: int) -> HttpResponse:
    if not run_pause(run=_run(request, pk), user=request.user):
        messages.info(request, f"Run {pk} is not under way.")
    return _back(request, pk)


@require_POST
def move(request: TeamRequest, pk: int) -> HttpResponse:
    run, to = _run(request, pk), request.POST.get("to", "")
    order = run_move(run=run, user=request.user, to=cast(Move, to)) if to in get_args(Move) else []
    if not order:
        messages.error(request, f"Run {pk} cannot be moved: it is paused or over.")
    elif order[0] == pk:
        messages.success(request, f"Run {pk} goes first now.")
    else:
        messages.success(request, f"Run {pk} comes after run {order[order.index(pk) - 1]} now.")
    return _back(request, pk)


def _back(request: TeamRequest, pk: int) -> HttpResponse:
    """To the page that the form was on: the run's, or the list as it was filtered."""
    back = request.POST.get("back", "")
    is_list = back.startswith(reverse("runs:list")) and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_list else reverse("runs:detail", args=[pk]))


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team).select_related("team"), pk=pk)
