"""Datasets: upload, columns, import, rows, bad rows, download, rename, delete."""

from __future__ import annotations

import csv

from django.contrib import messages
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.datasets import selectors, services
from webapp.datasets.drafts import draft_of
from webapp.datasets.forms import HubForm, NameForm, UploadForm
from webapp.datasets.import_preview import preview_import
from webapp.datasets.models import Dataset
from webapp.datasets.row_pages import CHANGES, RowFilter, row_page

ROWS_DELETED_AT_ONCE = 100  # without a question


@require_safe
def dataset_list(request: TeamRequest) -> HttpResponse:
    return render(request, "datasets/list.html", {"datasets": selectors.dataset_list(team=request.team)})


def dataset_new(request: TeamRequest) -> HttpResponse:
    """A file, or an id on the hub: two forms on one page."""
    from_hub = "hub_id" in request.POST
    upload = UploadForm(None if from_hub else request.POST or None, None if from_hub else request.FILES or None)
    hub = HubForm(request.POST if from_hub else None)
    if request.method == "POST" and from_hub and hub.is_valid():
        dataset = services.dataset_from_hub(team=request.team, user=request.user, **hub.cleaned_data)
        return redirect("datasets:detail", pk=dataset.pk)
    if request.method == "POST" and not from_hub and upload.is_valid():
        dataset = services.dataset_upload(team=request.team, user=request.user, **upload.cleaned_data)
        return redirect("datasets:columns", pk=dataset.pk)
    return render(request, "datasets/new.html", {"upload": upload, "hub": hub})


def dataset_columns(request: TeamRequest, pk: int) -> HttpResponse:
    """Which column means what, with the first rows as they would be read; a POST starts the import."""
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    if dataset.status == Dataset.Status.READY or dataset.is_version:
        return redirect("datasets:detail", pk=pk)
    preview = preview_import(dataset, request.POST if request.method == "POST" else request.GET)
    if request.method == "POST" and preview.mapping is not None:
        services.dataset_import_start(dataset=dataset, columns=preview.mapping)
        return redirect("datasets:detail", pk=pk)
    template = "datasets/_columns.html" if request.htmx else "datasets/columns.html"  # type: ignore[attr-defined]
    return render(request, template, {"dataset": dataset, "preview": preview})


@require_safe
def dataset_detail(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(selectors.dataset_list(team=request.team), pk=pk)
    if dataset.status == Dataset.Status.UPLOADED:
        return redirect("datasets:columns", pk=pk)
    chosen = RowFilter.of(request.GET)
    draft = draft_of(dataset)
    rows = row_page(dataset=dataset, chosen=chosen, page=request.GET.get("page"), draft=draft)
    query = request.GET.copy()
    query.pop("row", None)
    return render(request, "datasets/detail.html", {
        "dataset": dataset, "rows": rows, "page": rows.page, "filter": chosen, "draft": draft, "tab": "rows",
        "versions": selectors.version_list(dataset=dataset), "query": query.urlencode(), "changes": CHANGES,
        "open_row": row_key(request.GET.get("row"))})


@require_safe
def dataset_rejected(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(selectors.dataset_list(team=request.team), pk=pk)
    page = selectors.rejected_page(dataset=dataset, page=request.GET.get("page"))
    return render(request, "datasets/detail.html", {
        "dataset": dataset, "page": page, "tab": "rejected", "draft": draft_of(dataset),
        "versions": selectors.version_list(dataset=dataset), "reasons": selectors.rejected_reasons(dataset=dataset)})


@require_safe
def dataset_progress(request: TeamRequest, pk: int) -> HttpResponse:
    """The import's progress: a fragment that reloads itself until the import ends."""
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    response = render(request, "datasets/_progress.html", {"dataset": dataset})
    if dataset.status != Dataset.Status.IMPORTING:
        response.headers["HX-Refresh"] = "true"
    return response


@require_POST
def dataset_restart(request: TeamRequest, pk: int) -> HttpResponse:
    """Import again from the start, with the columns as they are."""
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    if not services.dataset_import_start(dataset=dataset, columns=dataset.columns):
        messages.error(request, "This dataset is already imported.")
    return redirect("datasets:detail", pk=pk)


@require_POST
def dataset_rename(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    form = NameForm(request.POST)
    if form.is_valid():
        services.dataset_rename(dataset=dataset, name=form.cleaned_data["name"])
    else:
        messages.error(request, "Enter a name of 1 to 200 characters.")
    return redirect("datasets:detail", pk=pk)


@require_POST
def dataset_delete(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    if dataset.rows_read > ROWS_DELETED_AT_ONCE and not dataset.runs.exists():
        question = ask_first(
            request, question=f"Delete “{dataset.title}”?", back=reverse("datasets:detail", args=[pk]),
            button=f"Delete the dataset and its {dataset.rows_read:,} rows",
            consequences=["The file, its rows and their draft are deleted for good. Labels of its pairs stay, and so "
                          "do versions that were made from it."])
        if question is not None:
            return question
    try:
        services.dataset_delete(dataset=dataset)
    except services.DatasetInUse as reason:
        messages.error(request, str(reason))
        return redirect("datasets:detail", pk=pk)
    messages.success(request, f"“{dataset.title}” is deleted.")
    return redirect("datasets:list")


@require_safe
def dataset_download(request: TeamRequest, pk: int) -> StreamingHttpResponse:
    """All good rows as JSONL, under the name by which a run's YAML calls them."""
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk, status=Dataset.Status.READY)
    response = StreamingHttpResponse(selectors.as_jsonl(dataset=dataset), content_type="application/jsonl")
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(dataset)}.jsonl"'
    return response


@require_safe
def dataset_rejected_csv(request: TeamRequest, pk: int) -> HttpResponse:
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk)
    response = HttpResponse(content_type="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(dataset)}-bad-rows.csv"'
    out = csv.writer(response)
    out.writerow(["row", "reason"])
    out.writerows(dataset.rejected_rows.values_list("number", "reason"))
    return response


def _file_name(dataset: Dataset) -> str:
    return f"{dataset.pk}-{slugify(dataset.name)[:60] or 'data'}"
