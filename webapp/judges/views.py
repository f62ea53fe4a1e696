"""Saved judges: the list, one judge with its test, its costs and its question, and the form."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webapp.accounts.middleware import TeamRequest
from webapp.judges import identity, selectors, services
from webapp.judges.asking import QuestionForm, question_for
from webapp.judges.forms import ConnectionForm, initial_of
from webapp.judges.models import Connection


@require_safe
def connection_list(request: TeamRequest) -> HttpResponse:
    return render(request, "judges/list.html", {"rows": selectors.connection_rows(team=request.team)})


@require_safe
def connection_detail(request: TeamRequest, pk: int) -> HttpResponse:
    connection = get_object_or_404(Connection.objects.of(request.team).select_related("created_by"), pk=pk)
    form = QuestionForm(request.GET, team=request.team)
    question = question_for(team=request.team, connection=connection, form=form)
    return render(request, "judges/detail.html", {
        "connection": connection, "form": form, "question": question, "lines": selectors.lines_of(connection),
        "unclaimed": identity.unclaimed_labels(connection)})


@require_http_methods(["GET", "HEAD", "POST"])
def connection_new(request: TeamRequest) -> HttpResponse:
    form = ConnectionForm(request.POST or None, team=request.team)
    if request.method == "POST" and form.is_valid():
        connection = services.connection_create(team=request.team, user=request.user, **form.cleaned_data)
        messages.success(request, f"{connection.name} is saved. Test it before you spend money on it.")
        return redirect("judges:detail", pk=connection.pk)
    return render(request, "judges/form.html", {"form": form})


@require_http_methods(["GET", "HEAD", "POST"])
def connection_edit(request: TeamRequest, pk: int) -> HttpResponse:
    connection = get_object_or_404(Connection.objects.of(request.team), pk=pk)
    form = ConnectionForm(request.POST or None, team=request.team, connection=connection,
                          initial=initial_of(connection))
    if request.method == "POST" and form.is_valid():
        services.connection_edit(connection=connection, **form.cleaned_data)
        messages.success(request, "Saved. Existing runs keep the address and the model they were started with.")
        return redirect("judges:detail", pk=pk)
    return render(request, "judges/form.html", {"form": form, "connection": connection})


@require_POST
def connection_delete(request: TeamRequest, pk: int) -> HttpResponse:
    connection = get_object_or_404(Connection.objects.of(request.team), pk=pk)
    services.connection_delete(connection=connection)
    messages.success(request, f"{connection.name} and its key are deleted. Its labels stay.")
    return redirect("judges:list")


@require_POST
def connection_claim(request: TeamRequest, pk: int) -> HttpResponse:
    """Labels of its model from before servers were noted are this judge's."""
    connection = get_object_or_404(Connection.objects.of(request.team), pk=pk)
    count = identity.claim_labels(connection)
    messages.success(request, f"{count:,} labels now belong to {connection.name}."
                     if count else "There are no labels to assign.")
    return redirect("judges:detail", pk=pk)


@require_POST
def connection_test(request: TeamRequest, pk: int) -> HttpResponse:
    """Ask the judge once, now: a fragment for htmx, the page without."""
    connection = get_object_or_404(Connection.objects.of(request.team), pk=pk)
    services.connection_test(connection=connection)
    if not request.htmx:  # type: ignore[attr-defined]
        return redirect("judges:detail", pk=pk)
    connection.refresh_from_db()
    return render(request, "judges/_report.html", {"connection": connection})
