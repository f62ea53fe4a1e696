"""The page "Ratings" of a dataset: what its ratings on each aspect are used for."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from webapp.accounts.middleware import TeamRequest
from webapp.datasets.models import Dataset
from webapp.labels.rating_form import RatingForm
from webapp.labels.rating_uses import Use, aspects_use, suggested, uses_of
from webapp.principles.models import Principle


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_ratings(request: TeamRequest, pk: int) -> HttpResponse:
    """Each aspect with the principle that its ratings are about; a POST saves it."""
    dataset = get_object_or_404(Dataset.objects.of(request.team), pk=pk, status=Dataset.Status.READY)
    principles = list(Principle.objects.of(request.team))
    said = uses_of(dataset)
    uses = suggested(dataset.aspects, principles)
    if said:  # an aspect that nothing was said of is not used
        uses = {aspect: Use() for aspect in uses} | {
            use.aspect: Use(use.principle, use.lower_is_better) for use in said if use.aspect in uses}
    form = RatingForm(uses, principles, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        aspects_use(dataset=dataset, user=request.user, uses=form.uses)
        used = sum(use.principle is not None for use in form.uses.values())
        messages.success(request, f"{used} of {len(form.uses)} aspects {'is' if used == 1 else 'are'} used. "
                                  "Label quality counts them as people’s choices.")
        return redirect("datasets:ratings", pk=pk)
    lines = [(aspect, dataset.aspects[aspect], *fields) for aspect, *fields in form.lines()]
    return render(request, "labels/ratings.html", {
        "dataset": dataset, "form": form, "lines": lines, "said": said[0] if said else None,
        "inherited": bool(said) and said[0].dataset_id != dataset.pk})
