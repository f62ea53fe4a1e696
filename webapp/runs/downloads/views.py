"""The page of a run's downloads, and the downloads. Another team's run gives 404."""

from __future__ import annotations

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_GET, require_POST

from training.config import as_yaml
from training.run.artifacts import kept_policy
from webapp.accounts.middleware import TeamRequest
from webapp.runs.downloads import label_rows
from webapp.runs.downloads.catalog import ADAPTER, adapter_folders, catalog_of, kept_folders
from webapp.runs.downloads.model_card import model_card
from webapp.runs.downloads.services import export_request
from webapp.runs.downloads.streams import download, zipped
from webapp.runs.models import ModelExport, Run, Stage

EXPORTED = ("ppo", "preference_model")
JSONL, PARQUET, ZIP = "application/x-ndjson", "application/vnd.apache.parquet", "application/zip"


@require_GET
def downloads(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    return render(request, "runs/downloads.html", {"run": run, "catalog": catalog_of(run)})


@require_GET
def downloads_state(request: TeamRequest, pk: int) -> HttpResponse:
    """The models alone, for a page that waits for one."""
    run = _run(request, pk)
    return render(request, "runs/_download_models.html", {"run": run, "catalog": catalog_of(run)})


@require_POST
def export(request: TeamRequest, pk: int, name: str) -> HttpResponse:
    run = _run(request, pk)
    export_request(stage=_stage(run, name), user=request.user)
    return redirect("runs:downloads", pk)


@require_GET
def model(request: TeamRequest, pk: int, name: str) -> StreamingHttpResponse:
    """An exported model with the run's card, as a zip file."""
    run = _run(request, pk)
    export = ModelExport.objects.filter(stage=_stage(run, name), status=ModelExport.Status.DONE).first()
    if export is None or not export.folder.is_dir():
        raise Http404("This model is not exported.")
    inside = "policy" if export.stage.kind == "ppo" else slugify(name.replace(":", "-"))
    return download(zipped({inside: export.folder}, _texts(run)), f"{_filename(run)}-{inside}.zip", ZIP)


@require_GET
def adapter(request: TeamRequest, pk: int) -> StreamingHttpResponse:
    """The policy's adapter with the run's card, and with its base where that is on no hub."""
    run = _run(request, pk)
    folders = adapter_folders(run, _stage(run, "ppo"))
    if not folders[ADAPTER].is_dir():
        raise Http404("PPO trained every weight: there is no adapter.")
    return download(zipped(folders, _texts(run)), f"{_filename(run)}-adapter.zip", ZIP)


@require_GET
def kept(request: TeamRequest, pk: int, step: int) -> StreamingHttpResponse:
    """The policy that was kept after a step, with the run's card."""
    run = _run(request, pk)
    ppo = _stage(run, "ppo")
    if not kept_policy(ppo.folder, step).is_dir():
        raise Http404("The policy of this step was not kept.")
    return download(zipped(kept_folders(run, ppo, step), _texts(run)), f"{_filename(run)}-step-{step}.zip", ZIP)


@require_GET
def labels(request: TeamRequest, pk: int, form: str) -> StreamingHttpResponse:
    run = _run(request, pk)
    if form == "parquet":
        return download(label_rows.as_parquet(run), f"{_filename(run)}-labels.parquet", PARQUET)
    return download(label_rows.as_jsonl(run), f"{_filename(run)}-labels.jsonl", JSONL)


@require_GET
def card(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    response = HttpResponse(model_card(run), content_type="text/markdown; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{_filename(run)}-README.md"'
    return response


def _texts(run: Run) -> dict[str, str]:
    return {"README.md": model_card(run), "recipe.yaml": as_yaml(run.stored.recipe)}


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team).select_related("team", "dataset"), pk=pk)


def _stage(run: Run, name: str) -> Stage:
    """A finished stage of the run that leaves a model."""
    return get_object_or_404(Stage, uses__run=run, uses__name=name, kind__in=EXPORTED, status=Stage.Status.SUCCEEDED)


def _filename(run: Run) -> str:
    return f"run-{run.pk}-{slugify(run.name)[:60] or 'untitled'}"
