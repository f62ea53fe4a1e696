"""Roles on the team's page, the team that one works in, and the page that each role begins on."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from webapp.accounts import services
from webapp.accounts.middleware import TeamRequest
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import first_page, open_to_annotators


@require_POST
def member_role(request: TeamRequest, pk: int) -> HttpResponse:
    membership = get_object_or_404(request.team.memberships.select_related("user"), pk=pk)
    role = request.POST.get("role", "")
    try:
        services.role_set(membership=membership, role=role, by=request.membership)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{membership.user.get_username()} is now {role} of the team.")
    return redirect("home" if membership.user_id == request.user.pk else "team")


@open_to_annotators
@require_POST
def team_switch(request: TeamRequest) -> HttpResponse:
    """Work in another of one's teams. An annotator has no team page, so this stands on the account's page too."""
    chosen = get_object_or_404(request.user.teams, pk=row_key(request.POST.get("team")))
    request.session["team"] = chosen.pk
    messages.success(request, f"You now work in {chosen.name}.")
    return redirect("home")


@open_to_annotators
def home(request: TeamRequest) -> HttpResponse:
    return redirect(first_page(request.membership))
