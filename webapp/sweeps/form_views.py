"""The page that makes a sweep, and the one that adds combinations to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from training.config import Recipe, read_exactly, shipped_recipe
from training.errors import BadSettings, TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.datasets.models import Dataset
from webapp.runs.models import Run
from webapp.sweeps.form import SweepForm
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.planning import SweepPlan, sweep_plan
from webapp.sweeps.services import sweep_create, sweep_extend

NEWEST = 50  # runs that the select offers


class Source(NamedTuple):
    """Where the recipe comes from. `run`: the run whose recipe it is; None: the demo recipe, or the sweep's own."""

    recipe: Recipe
    dataset: Dataset | None
    run: Run | None = None
    sweep: Sweep | None = None


@require_http_methods(["GET", "HEAD", "POST"])
def sweep_new(request: TeamRequest) -> HttpResponse:
    source = _source(request)
    if request.method != "POST":
        return _page(request, source, SweepForm(source.recipe, name=f"{source.recipe.name[:170]} sweep"))
    form = SweepForm.from_post(source.recipe, request.POST)
    if _is_only_typing(request, form):
        return _page(request, source, form)
    over = form.over()
    if over and "check" not in request.POST:
        try:
            sweep = sweep_create(team=request.team, user=request.user, name=form.name, base=source.recipe,
                                 dataset=source.dataset, over=over, at_a_time=form.at_a_time_number())
        except TrainingError as problem:
            form.refuse(problem)
        else:
            return redirect("sweeps:detail", sweep.pk)
    return _page(request, source, form, over)


@require_http_methods(["GET", "HEAD", "POST"])
def sweep_add(request: TeamRequest, pk: int) -> HttpResponse:
    source = _of_sweep(request, pk)
    assert source.sweep is not None
    if request.method != "POST":
        return _page(request, source, SweepForm(source.recipe, name=source.sweep.name))
    form = SweepForm.from_post(source.recipe, request.POST)
    if _is_only_typing(request, form):
        return _page(request, source, form)
    over = form.over()
    if over and "check" not in request.POST:
        try:
            added = sweep_extend(sweep=source.sweep, user=request.user, over=over)
        except TrainingError as problem:
            form.refuse(problem)
        else:
            messages.success(request, f"{added} run{'' if added == 1 else 's'} added.")
            return redirect("sweeps:detail", pk)
    return _page(request, source, form, over)


@require_POST
def sweep_preview(request: TeamRequest) -> HttpResponse:
    return _preview(request, _source(request))


@require_POST
def sweep_add_preview(request: TeamRequest, pk: int) -> HttpResponse:
    return _preview(request, _of_sweep(request, pk))


def _preview(request: TeamRequest, source: Source) -> HttpResponse:
    form = SweepForm.from_post(source.recipe, request.POST)
    plan = _plan(request, source, form, form.over())
    return render(request, "sweeps/_preview.html", {"form": form, "plan": plan})


def _is_only_typing(request: TeamRequest, form: SweepForm) -> bool:
    """Whether a button was pressed that changes the form alone."""
    if "add_row" in request.POST:
        form.add_row()
        return True
    if "fill_yaml" in request.POST:
        form.fill_yaml()
        return True
    return "use_run" in request.POST


def _source(request: TeamRequest) -> Source:
    """The recipe of the run that the address or the form names; without one that of the demo."""
    key = request.POST.get("run") if request.method == "POST" else request.GET.get("run", "")
    if not key:
        return Source(shipped_recipe("demo"), None)
    run = get_object_or_404(Run.objects.of(request.team).select_related("dataset"), pk=row_key(key))
    try:
        return Source(run.stored.recipe, run.dataset, run)
    except BadSettings as problem:
        messages.error(request, str(problem))
        return Source(shipped_recipe("demo"), None)


def _of_sweep(request: TeamRequest, pk: int) -> Source:
    sweep = get_object_or_404(Sweep.objects.of(request.team).select_related("team", "dataset"), pk=pk)
    return Source(read_exactly(sweep.recipe), sweep.dataset, sweep=sweep)


def _plan(request: TeamRequest, source: Source, form: SweepForm, over: dict[str, Any]) -> SweepPlan | None:
    """The plan, or None and the form's errors."""
    if not over:
        return None
    without = frozenset(SweepRun.objects.filter(sweep=source.sweep).values_list("digest", flat=True)) \
        if source.sweep else frozenset()
    try:
        return sweep_plan(team=request.team, base=source.recipe, dataset=source.dataset, over=over, without=without)
    except TrainingError as problem:
        form.refuse(problem)
        return None


def _page(request: TeamRequest, source: Source, form: SweepForm, over: dict[str, Any] | None = None) -> HttpResponse:
    plan = _plan(request, source, form, over) if over and not form.errors else None
    runs = [] if source.sweep else list(Run.objects.of(request.team).only("id", "name")[:NEWEST])
    if source.run is not None and source.run not in runs:
        runs.append(source.run)
    return render(request, "sweeps/new.html", {
        "form": form, "plan": plan, "source": source, "sweep": source.sweep, "runs": runs,
        "submitted": over is not None}, status=422 if form.errors else 200)
