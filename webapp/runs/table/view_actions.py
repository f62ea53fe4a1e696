"""Saving, renaming and deleting a view of the table of runs."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from training.errors import TrainingError
from webapp.accounts.confirming import ask_first
from webapp.accounts.middleware import TeamRequest
from webapp.runs.models import SavedView
from webapp.runs.table.addresses import changed
from webapp.runs.table.saved_views import view_delete, view_rename, view_save


@require_POST
def save(request: TeamRequest) -> HttpResponse:
    query = changed(QueryDict(request.POST.get("query", "").removeprefix("?")))
    try:
        view = view_save(team=request.team, user=request.user, name=request.POST.get("name", ""), query=query)
    except TrainingError as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, f"The view “{view.name}” is saved for the team.")
    return _to(query)


@require_POST
def rename(request: TeamRequest, pk: int) -> HttpResponse:
    view = _view(request, pk)
    try:
        view_rename(view=view, name=request.POST.get("name", ""))
    except TrainingError as problem:
        messages.error(request, str(problem))
    return _to(view.query)


@require_POST
def delete(request: TeamRequest, pk: int) -> HttpResponse:
    view = _view(request, pk)
    question = ask_first(request, question=f"Delete the view “{view.name}”?", button="Delete the view",
                         back=reverse("runs:list") + view.query,
                         consequences=["It goes for everybody in the team. The runs in it stay."])
    if question is not None:
        return question
    view_delete(view=view)
    messages.success(request, f"The view “{view.name}” is deleted.")
    return _to("")


def _view(request: TeamRequest, pk: int) -> SavedView:
    return get_object_or_404(SavedView.objects.of(request.team), pk=pk)


def _to(query: str) -> HttpResponse:
    return redirect(reverse("runs:list") + (query if query != "?" else ""))
