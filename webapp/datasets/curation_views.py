"""The page "Make a version": rules on the rows of a dataset, their preview, and the version that is saved."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts.middleware import TeamRequest
from webapp.datasets import curations
from webapp.datasets.curation_form import FORMS
from webapp.datasets.drafts import draft_of
from webapp.datasets.models import Dataset


def _ready(request: TeamRequest, pk: int) -> Dataset:
    return get_object_or_404(Dataset.objects.of(request.team), pk=pk, status=Dataset.Status.READY)


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_curate(request: TeamRequest, pk: int) -> HttpResponse:
    """The rules, each with its form, and the preview of the last one; a POST previews a rule."""
    dataset = _ready(request, pk)
    chosen = request.POST.get("kind", "")
    forms = [form(dataset, request.POST if kind == chosen else None) for kind, form in FORMS.items()]
    if request.method == "POST":
        form = next((form for form in forms if form.kind == chosen), None)
        if form is None:
            messages.error(request, "No rule is chosen. Fill in one of the forms below.")
        elif form.is_valid():
            curations.curation_start(dataset=dataset, user=request.user, rule=form.rule, unit=form.chosen_unit,
                                     merged=form.chosen_dataset)
            return redirect("datasets:curate", pk=pk)
    return render(request, "datasets/curate.html", {
        "dataset": dataset, "forms": forms, "chosen": chosen, "curation": curations.curation_of(dataset),
        "draft": draft_of(dataset)})


@require_POST
def curation_save(request: TeamRequest, pk: int) -> HttpResponse:
    """Make the version, and go to its page."""
    dataset = _ready(request, pk)
    seen = request.POST.get("seen", "")
    try:
        version = curations.curation_save(dataset=dataset, user=request.user,
                                          seen=int(seen) if seen.isdecimal() and len(seen) < 16 else 0)
    except curations.CurationRefused as reason:
        messages.error(request, str(reason))
        return redirect("datasets:curate", pk=pk)
    return redirect("datasets:detail", pk=version.pk)


@require_POST
def curation_discard(request: TeamRequest, pk: int) -> HttpResponse:
    curations.curation_discard(dataset=_ready(request, pk))
    return redirect("datasets:curate", pk=pk)
