"""What is done with the checked runs of the table: compare, archive, star and tag, and undo of the last action."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.runs.compare.compared_runs import query_of
from webapp.runs.table.many import INVERSE, runs_change

UNDO = "undo_of_runs"  # the session's key of the last action


@require_POST
def many(request: TeamRequest) -> HttpResponse:
    keys = [int(text) for text in request.POST.getlist("run") if text.isdecimal() and len(text) < 16]
    action = request.POST.get("action", "compare")
    if action == "compare":
        return redirect(reverse("runs:compare") + (query_of(keys) if keys else ""))
    if action not in INVERSE:
        messages.error(request, f"There is no action {action[:40]!r}. Choose one of the buttons under the list.")
        return _back(request)
    try:
        done = runs_change(team=request.team, keys=keys, action=action, tag=request.POST.get("tag", ""))
    except TrainingError as problem:
        messages.error(request, str(problem))
        return _back(request)
    if done.runs:
        request.session[UNDO] = {"team": request.team.pk, "action": INVERSE[done.action], "runs": done.runs,
                                 "tag": done.tag, "words": done.words}
    else:
        messages.info(request, f"Nothing changed: no checked run needed it.{done.left}")
    return _back(request)


@require_POST
def undo(request: TeamRequest) -> HttpResponse:
    """Undo the last action of this session, for the runs that it changed."""
    last = request.session.pop(UNDO, None)
    if not last or last["team"] != request.team.pk:
        messages.info(request, "There is nothing to undo.")
        return _back(request)
    done = runs_change(team=request.team, keys=last["runs"], action=last["action"], tag=last["tag"])
    messages.success(request, f"Undone: {done.words}")
    return _back(request)


def undoable(request: TeamRequest) -> dict[str, Any] | None:
    """The last action, the first time that the list is shown after it."""
    last: dict[str, Any] | None = request.session.get(UNDO)
    if not last or last["team"] != request.team.pk or not last["words"]:
        return None
    request.session[UNDO] = last | {"words": ""}
    return last


def _back(request: TeamRequest) -> HttpResponse:
    """To the list as it was."""
    back = request.POST.get("back", "")
    is_list = back.startswith(reverse("runs:list")) and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_list else reverse("runs:list"))
