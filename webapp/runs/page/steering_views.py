"""The labelling part of a run's page, which reloads itself, and the form that changes its pace."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import Run
from webapp.runs.page.labelling import labelling_of, labelling_steer


class PaceForm(forms.Form):
    """The form for how fast a run's judge may be called."""

    requests_per_minute = forms.IntegerField(min_value=0, max_value=10_000_000)
    concurrency = forms.IntegerField(label="Requests in flight", min_value=1, max_value=512)


@require_safe
def run_labelling(request: TeamRequest, pk: int) -> HttpResponse:
    run = _run(request, pk)
    return render(request, "judges/_labelling.html", {"run": run, "labelling": labelling_of(run)})


@require_POST
def run_steer(request: TeamRequest, pk: int) -> HttpResponse:
    """Pause, continue, or change the pace; the stage's worker applies it within a second."""
    run = _run(request, pk)
    action = request.POST.get("action", "")
    if action in {"pause", "go"}:
        paused = action == "pause"
        touched = labelling_steer(run=run, paused=paused)
        message = "Labelling is paused. Requests in flight still finish." if paused else "Labelling continues."
        messages.success(request, message if touched else "All labels are already done.")
    elif action == "pace":
        form = PaceForm(request.POST)
        if form.is_valid():
            labelling_steer(run=run, **form.cleaned_data)
            messages.success(request, "The rates are set.")
        else:
            messages.error(request, " ".join(f"{form.fields[name].label or name}: {error}" for name, errors in
                                             form.errors.items() for error in errors))
    return redirect("runs:detail", pk)


def _run(request: TeamRequest, pk: int) -> Run:
    return get_object_or_404(Run.objects.of(request.team).select_related("team", "dataset"), pk=pk)
