"""Pages of runs. Every view looks up its run among the request's team's runs; another team's run gives 404."""

from __future__ import annotations

from typing import Literal

from django.contrib import messages
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_GET, require_POST

from training.config import as_yaml, shipped_recipe
from training.errors import BadSettings, TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import Run
from webapp.runs.page.labelling import labelling_of
from webapp.runs.page.run_page import RunPage, samples_at
from webapp.runs.page.selectors import running_now
from webapp.runs.series import metrics
from webapp.runs.services import run_create


@require_GET
def running(request: TeamRequest) -> HttpResponse:
    return render(request, "runs/_running.html", {"now": running_now(request.team)})


@require_POST
def start_demo(request: TeamRequest) -> HttpResponse:
    return _start(request, "demo")


@require_POST
def start_real_english(request: TeamRequest) -> HttpResponse:
    return _start(request, "real_english")


def _start(request: TeamRequest, preset: Literal["demo", "real_english"]) -> HttpResponse:
    try:
        run = run_create(team=request.team, user=request.user, recipe=shipped_recipe(preset), dataset=None)
    except TrainingError as problem:  # the model's package is missing, or the disk is full
        messages.error(request, str(problem))
        return redirect("runs:list")
    return redirect("runs:detail", run.pk)


@require_GET
def detail(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    try:
        run.stored  # noqa: B018  a page that cannot say what the run was asked for says so, and nothing else
    except BadSettings as problem:
        return render(request, "runs/unreadable.html", {"run": run, "problem": problem})
    page = RunPage(run)
    samples = samples_at(page.stages, _whole_number(request.GET.get("step")))
    return render(request, "runs/detail.html", {"page": page, "run": page.run, "labelling": labelling_of(page.run),
                                                "tags": list(run.tags.values_list("name", flat=True)),
                                                **samples})


@require_GET
def state(request: TeamRequest, pk: int) -> HttpResponse:
    page = RunPage(_run(request, pk))
    return render(request, "runs/_state.html", {"page": page, "run": page.run})


@require_GET
def samples(request: TeamRequest, pk: int) -> HttpResponse:
    page = RunPage(_run(request, pk))
    return render(request, "runs/_samples.html", {
        "page": page, "run": page.run, **samples_at(page.stages, _whole_number(request.GET.get("step")))})


@require_GET
def metrics_json(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    try:
        query = metrics.ChartQuery.from_query(request.GET)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse(metrics.charts(run, query), json_dumps_params={"separators": (",", ":")})


@require_GET
def metrics_csv(request: TeamRequest, pk: int) -> StreamingHttpResponse:
    run = _run(request, pk)
    response = StreamingHttpResponse(metrics.as_csv(run), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_filename(run)}.csv"'
    return response


@require_GET
def recipe_yaml(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    response = HttpResponse(as_yaml(run.stored.recipe), content_type="text/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_filename(run)}.yaml"'
    return response


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team).select_related("created_by", "team"), pk=pk)


def _filename(run: Run) -> str:
    return f"run-{run.pk}-{slugify(run.name)[:60] or 'untitled'}"


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 12 else None
