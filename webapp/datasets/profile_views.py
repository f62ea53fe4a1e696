"""Two pages of a dataset beside its rows: its profile, and what differs from the version that it is made from."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.datasets import selectors
from webapp.datasets.computing import unit_title, units
from webapp.datasets.differences import DIFFERENCES, difference_page
from webapp.datasets.drafts import draft_of
from webapp.datasets.length_bars import histogram
from webapp.datasets.models import Dataset, DatasetProfile
from webapp.datasets.profiles import HELD_OUT, profile_start


@require_http_methods(["GET", "HEAD", "POST"])
def dataset_profile(request: TeamRequest, pk: int) -> HttpResponse:
    """The profile as it is stored; a POST has it computed."""
    dataset = get_object_or_404(selectors.dataset_list(team=request.team), pk=pk, status=Dataset.Status.READY)
    choices = units()
    if request.method == "POST":
        unit = request.POST.get("unit", "words")
        if unit in choices:
            profile_start(dataset=dataset, user=request.user, unit=unit)
        else:
            messages.error(request, f"“{unit[:100]}” is no tokenizer on this server. Choose one of the list.")
        return redirect("datasets:profile", pk=pk)
    profile = DatasetProfile.objects.select_related("by").filter(dataset=dataset).first()
    result = profile.result if profile else {}
    return render(request, "datasets/detail.html", {
        "dataset": dataset, "tab": "profile", "draft": draft_of(dataset), "profile": profile, "result": result,
        "units": choices, "unit": unit_title(profile.unit) if profile else "", "most_held_out": HELD_OUT,
        "versions": selectors.version_list(dataset=dataset), "histograms": [
            (title, in_unit, result[name], histogram(result[name]["bars"]))
            for title, name, in_unit in _distributions(profile) if result.get(name, {}).get("bars")]})


def _distributions(profile: DatasetProfile | None) -> list[tuple[str, str, str]]:
    unit = unit_title(profile.unit) if profile else ""
    return [("Turns per prompt", "turns", "turns"), ("Prompt length", "prompt_length", unit),
            ("Response length", "response_length", unit)]


@require_safe
def dataset_differences(request: TeamRequest, pk: int) -> HttpResponse:
    """The rows that differ from the version below, of one kind, a page at a time."""
    dataset = get_object_or_404(selectors.dataset_list(team=request.team), pk=pk, status=Dataset.Status.READY)
    counts = {"dropped": dataset.rows_excluded, "edited": dataset.rows_edited, "added": dataset.rows_added}
    which = request.GET.get("which", "")
    if which not in DIFFERENCES:
        which = next((name for name, count in counts.items() if count), "dropped")
    page = difference_page(version=dataset, which=which, count=counts[which], page=request.GET.get("page"))
    return render(request, "datasets/detail.html", {
        "dataset": dataset, "tab": "differences", "draft": draft_of(dataset), "page": page, "which": which,
        "versions": selectors.version_list(dataset=dataset),
        "kinds": [(name, title, counts[name]) for name, title in DIFFERENCES.items()]})
