"""Renaming, noting, tagging, archiving and deleting a run, and the page that says what runs take on the disk."""

from __future__ import annotations

import shutil

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from training.errors import TrainingError
from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import Run
from webapp.runs.tidying import footprint, footprints, run_archive, run_delete, run_describe

PAGE = 25


@require_POST
def describe(request: TeamRequest, pk: int) -> HttpResponse:
    try:
        run_describe(run=_run(request, pk), name=request.POST.get("name", ""), note=request.POST.get("note", ""),
                     tags=request.POST.get("tags", "").split(","))
    except TrainingError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Saved.")
    return redirect("runs:detail", pk)


@require_POST
def archive(request: TeamRequest, pk: int) -> HttpResponse:
    to_archive = request.POST.get("archived") == "1"
    try:
        run_archive(run=_run(request, pk), archived=to_archive)
    except TrainingError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Run {pk} is {'in the archive' if to_archive else 'back in the list'}.")
    return redirect("runs:detail", pk)


@require_POST
def delete(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    taken = footprint(run)
    consequences = [f"{taken.own_stages} of its stages go, with their models, curves and samples: "
                    f"{filesizeformat(taken.own)} on the disk. This cannot be undone."]
    if taken.shared_stages:
        consequences.append(f"{taken.shared_stages} stages stay, because other runs use them.")
    consequences.append("Labels and people's decisions stay: they belong to the team.")
    question = ask_first(request, question=f"Delete “{run.name}” (run {run.pk})?", button="Delete the run",
                         back=reverse("runs:detail", args=[pk]), consequences=consequences)
    if question is not None:
        return question
    try:
        freed = run_delete(run=run)
    except TrainingError as error:
        messages.error(request, str(error))
        return redirect("runs:detail", pk)
    messages.success(request, f"Run {pk} is deleted; {filesizeformat(freed.own)} are free again.")
    return redirect("runs:list")


@require_GET
def storage(request: TeamRequest) -> HttpResponse:
    """What each run takes on the disk, newest first, archived ones too."""
    page = Paginator(Run.objects.of(request.team).defer("recipe"), PAGE).get_page(request.GET.get("page"))
    sizes = footprints(list(page.object_list))
    existing = next(path for path in (settings.ARTIFACTS, *settings.ARTIFACTS.parents) if path.is_dir())
    return render(request, "runs/storage.html", {
        "page": page, "rows": [(run, sizes[run.pk]) for run in page.object_list],
        "free": shutil.disk_usage(existing).free})


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team).select_related("team"), pk=pk)
