"""The page that makes a run: presets, clone, pasted YAML, the live preview, the start."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import count

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from training.config import Recipe, as_yaml, shipped_recipe
from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.calibration.trust import unmeasured_principles
from webapp.judges.estimating import Costs, costs_of, pairs_of
from webapp.judges.selectors import saved_judge
from webapp.runs.devices import MemoryPreview, memory_preview
from webapp.runs.form.recipe_form import RecipeForm, read_yaml
from webapp.runs.form.reweighting import reweighted
from webapp.runs.form.scalarizations import cards
from webapp.runs.models import Run
from webapp.runs.services import StagePreview, preview, run_create

PRESETS = {"demo": "Demo", "real_english": "Real English", "small_gpu": "Small GPU", "large_gpu": "Large GPU"}


@dataclass
class Preview:
    """What is shown beside the form: the YAML, the stages that would run, their calls to the judge and their memory."""

    yaml: str = ""
    stages: list[StagePreview] = field(default_factory=list)
    calls: int = 0
    labels: int = 0
    costs: Costs | None = None
    memory: MemoryPreview | None = None
    refusal: str = ""
    unmeasured: list[str] = field(default_factory=list)  # principles on which nobody has measured the judge

    @property
    def reused(self) -> int:
        return sum(stage.state != "to run" for stage in self.stages)


@require_http_methods(["GET", "HEAD", "POST"])
def run_new(request: TeamRequest) -> HttpResponse:
    if request.method != "POST":
        form = RecipeForm.from_recipe(request.team, _start(request))
        if request.GET.get("clone"):
            form.name = free_name(request.team, form.name)
        if judge := saved_judge(request.team, request.GET.get("judge", "")):
            form.use_judge(judge)
        form.is_valid()
        return _page(request, form)
    if "use_yaml" in request.POST:
        return _from_yaml(request)
    form = RecipeForm.from_post(request.team, request.POST)
    if form.is_valid() and form.recipe is not None and "check" not in request.POST:
        try:
            run = run_create(team=request.team, user=request.user, recipe=form.recipe, dataset=form.dataset)
        except TrainingError as error:
            form.refuse(str(error))
        else:
            return redirect("runs:detail", run.pk)
    return _page(request, form)


@require_POST
def run_preview(request: TeamRequest) -> HttpResponse:
    form = RecipeForm.from_post(request.team, request.POST)
    form.is_valid()
    return render(request, "runs/_preview.html", {"form": form, "preview": preview_of(form)})


def _start(request: TeamRequest) -> Recipe:
    """The recipe that the page opens with: that of a cloned run, or a preset."""
    clone = request.GET.get("clone", "")
    if clone:
        run = get_object_or_404(Run.objects.of(request.team), pk=row_key(clone))
        try:
            return reweighted(run.stored.recipe, request.GET)
        except TrainingError as error:
            messages.error(request, str(error))
    preset = request.GET.get("preset", "")
    return shipped_recipe(preset if preset in PRESETS else "demo")  # type: ignore[arg-type]


def _from_yaml(request: TeamRequest) -> HttpResponse:
    text = request.POST.get("yaml", "")
    form, problem = read_yaml(request.team, text)
    if form is None:
        form = RecipeForm.from_post(request.team, request.POST)
        form.is_valid()
        return _page(request, form, pasted=text, yaml_problem=problem)
    form.is_valid()
    return _page(request, form)


def _page(request: TeamRequest, form: RecipeForm, **more: str) -> HttpResponse:
    status = 422 if request.method == "POST" and (form.errors or more.get("yaml_problem")) else 200
    return render(request, "runs/new.html", {
        "form": form, "preview": preview_of(form), "presets": PRESETS, "preset": request.GET.get("preset", ""),
        "cloned": bool(request.GET.get("clone")) or request.method == "POST",
        "submitted": request.method == "POST", "scalarizations": cards(), **more,
    }, status=status)


def preview_of(form: RecipeForm) -> Preview:
    """The preview of a form's recipe; empty if the recipe has errors."""
    recipe = form.recipe
    if recipe is None:
        return Preview()
    result = Preview(as_yaml(recipe))
    try:
        result.memory = memory_preview(recipe)
        result.stages = preview(team=form.team, recipe=recipe, dataset=form.dataset)
    except TrainingError as error:
        result.refusal = str(error)
        return result
    to_label = [stage.principle for stage in result.stages if stage.kind == "label" and stage.state == "to run"]
    result.labels = len(to_label) * pairs_of(recipe, form.dataset)
    measured = {choice.name for choice in recipe.principles if choice.measure is not None}
    judged = len(set(to_label) - measured) * pairs_of(recipe, form.dataset)
    result.calls = judged * (2 if recipe.judge.both_orders else 1) if recipe.judge.kind != "rule" else 0
    if judged and recipe.judge.kind != "rule":
        result.unmeasured = unmeasured_principles(team=form.team, judge=recipe.judge, wordings={
            choice.name: choice.wording for choice in recipe.principles
            if choice.name in to_label and choice.measure is None})
    result.costs = costs_of(team=form.team, recipe=recipe, dataset=form.dataset, to_label=to_label)
    return result


def free_name(team: Team, name: str) -> str:
    """The name with the next number that no run of the team has: "Demo world (2)" for the first clone."""
    base = re.sub(r" \(\d+\)$", "", name)[:190]
    taken = set(Run.objects.of(team).filter(name__startswith=base).values_list("name", flat=True))
    numbered = (f"{base} ({number})" for number in count(2))
    return next(name for name in numbered if name not in taken)
