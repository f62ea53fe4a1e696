"""Pages of calibration: sets of people's choices, and what each judge is worth beside them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.calibration import services
from webapp.calibration.forms import CheckForm, SetForm
from webapp.calibration.models import CalibrationCheck, CalibrationSet
from webapp.calibration.people import choices_of
from webapp.calibration.selectors import ENOUGH, JudgeRow, checks_of, judge_rows, set_rows

ASKED_ABOUT = 100  # calls of a judge that are made without a question
NOBODY = ("Nobody has decided on a label yet. Decide on some on the Labels pages first, with “Hide the judge’s answer” "
          "switched on.")


@require_http_methods(["GET", "HEAD", "POST"])
def set_list(request: TeamRequest) -> HttpResponse:
    """All sets, and the form of a new one."""
    form = SetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = services.set_create(team=request.team, user=request.user, name=form.cleaned_data["name"],
                                   only_blind=form.cleaned_data["only_blind"])
        if made is not None:
            return redirect("calibration:set_detail", pk=made.pk)
        form.add_error("only_blind" if form.cleaned_data["only_blind"] else "name", NOBODY)
    counts = {name: len(choices_of(request.team, only_blind=only_blind))
              for name, only_blind in (("blind", True), ("all", False))}
    return render(request, "calibration/list.html", {"rows": set_rows(request.team), "form": form, "counts": counts})


@require_safe
def set_detail(request: TeamRequest, pk: int) -> HttpResponse:
    return render(request, "calibration/detail.html", _context(request, pk) | {"form": CheckForm(team=request.team)})


@require_safe
def set_state(request: TeamRequest, pk: int) -> HttpResponse:
    """The part of the page that reloads itself until all judges have been asked."""
    return render(request, "calibration/_judges.html", _context(request, pk))


@require_POST
def set_renew(request: TeamRequest, pk: int) -> HttpResponse:
    """Another version of a set, with what people have decided since."""
    calibration_set = _set(request, pk)
    if CalibrationSet.objects.filter(earlier=calibration_set).exists():
        messages.info(request, "This set has a newer version already.")
        return redirect("calibration:set_list")
    made = services.set_create(team=request.team, user=request.user, name=calibration_set.name,
                               only_blind=calibration_set.only_blind, earlier=calibration_set)
    if made is None:
        messages.error(request, NOBODY)
        return redirect("calibration:set_detail", pk=pk)
    messages.success(request, f"Version {made.version} holds what people have decided until now. Check the judges "
                              "against it.")
    return redirect("calibration:set_detail", pk=made.pk)


@require_POST
def set_delete(request: TeamRequest, pk: int) -> HttpResponse:
    calibration_set = _set(request, pk)
    question = ask_first(
        request, question=f"Delete “{calibration_set}”?", button="Delete the set",
        back=reverse("calibration:set_detail", args=[pk]), consequences=[
            "The checks of judges against it are deleted as well.", "People’s decisions stay on their labels."])
    if question is not None:
        return question
    services.set_delete(calibration_set=calibration_set)
    messages.success(request, f"“{calibration_set}” is deleted.")
    return redirect("calibration:set_list")


@require_POST
def set_check(request: TeamRequest, pk: int) -> HttpResponse:
    """Ask a judge about the set; many calls that cost money are asked about first."""
    calibration_set = _set(request, pk)
    form = CheckForm(request.POST, team=request.team)
    if not form.is_valid():
        return render(request, "calibration/detail.html", _context(request, pk) | {"form": form}, status=422)
    judge, title = form.chosen
    repeats = form.cleaned_data["repeats"]
    items = calibration_set.items.count()
    principles = calibration_set.items.values("principle").distinct().count()
    calls = (items + min(items, repeats * principles)) * (2 if judge.both_orders else 1)
    if judge.kind != "rule" and calls > ASKED_ABOUT:
        question = ask_first(
            request, question=f"Ask {title} up to {calls:,} times?", button=f"Ask up to {calls:,} times",
            back=reverse("calibration:set_detail", args=[pk]), consequences=[
                f"{items:,} choices of people on {principles:,} principles are put to it.",
                "What it has labelled already with the same wording is not asked again."])
        if question is not None:
            return question
    services.check_start(calibration_set=calibration_set, user=request.user, judge=judge, title=title, repeats=repeats)
    return redirect("calibration:set_detail", pk=pk)


@require_POST
def check_again(request: TeamRequest, pk: int) -> HttpResponse:
    check = get_object_or_404(CalibrationCheck.objects.of(request.team), pk=pk)
    if not services.check_again(check=check):
        messages.error(request, "This check is still running, or done.")
    return redirect("calibration:set_detail", pk=check.set_id)


def _set(request: TeamRequest, pk: int) -> CalibrationSet:
    calibration_set: CalibrationSet = get_object_or_404(CalibrationSet.objects.of(request.team), pk=pk)
    return calibration_set


def _context(request: TeamRequest, pk: int) -> dict[str, Any]:
    calibration_set = _set(request, pk)
    progress = checks_of(calibration_set)
    checks = [row.check for row in progress]
    for check in checks:
        check.team = request.team
    by_principle: dict[str, list[JudgeRow]] = {}
    for row in judge_rows(calibration_set, checks):
        by_principle.setdefault(row.principle.name, []).append(row)
    return {"set": calibration_set, "progress": progress, "by_principle": list(by_principle.values()),
            "later": CalibrationSet.objects.filter(earlier=calibration_set).first(),
            "pairs": calibration_set.items.values("pair").distinct().count(),
            "items": calibration_set.items.count(), "enough": ENOUGH,
            "under_way": any(row.is_under_way for row in progress)}
