"""The page "Train again": runs that stand on labels corrected since, what a clone would compute, and their start."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.views.decorators.http import require_http_methods

from training.errors import TrainingError
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.labels.models import Label
from webapp.principles.selectors import principles_by_name
from webapp.runs.retraining.planning import clones_start, runs_to_train_again


@require_http_methods(["GET", "HEAD", "POST"])
def train_again(request: TeamRequest) -> HttpResponse:
    label = None
    if "label" in request.GET:
        label = get_object_or_404(Label.objects.of(request.team).select_related(
            "pair", "principle_version__principle"), pk=row_key(request.GET["label"]))
    listed = runs_to_train_again(team=request.team, label=label)
    if request.method == "POST":
        keys = {row_key(text) for text in request.POST.getlist("run")}
        chosen = [again for again in listed if again.run.pk in keys]
        if not chosen:
            messages.error(request, "No run was started: check at least one of those that are listed.")
            return redirect(request.get_full_path())
        try:
            started = clones_start(team=request.team, user=request.user, chosen=chosen)
        except TrainingError as problem:
            messages.error(request, str(problem))
            return redirect(request.get_full_path())
        links = format_html_join(", ", '<a href="{}">run {}</a>', (
            (reverse("runs:detail", args=[run.pk]), run.pk) for run in started))
        messages.success(request, format_html("Started with the corrected labels: {}.", links))
        return redirect("runs:list")
    ours = principles_by_name(request.team)
    return render(request, "runs/train_again.html", {
        "label": label, "rows": [(again, [ours.get(name) for name in again.principles]) for again in listed]})
