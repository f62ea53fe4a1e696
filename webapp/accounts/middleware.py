"""Puts the current team on every request, turns away who belongs to none, and keeps pages out of caches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.utils.functional import SimpleLazyObject

if TYPE_CHECKING:
    from webapp.accounts.models import Team, User


class TeamRequest(HttpRequest):
    """What a view gets: the request of a logged-in member."""

    team: Team
    user: User


def current_team(request: HttpRequest) -> Team | None:
    """The team chosen in the session if the user is in it, else the user's first."""
    if not request.user.is_authenticated:
        return None
    teams = [membership.team for membership in request.user.memberships.select_related("team").order_by("id")]
    chosen = request.session.get("team")
    return next((team for team in teams if team.pk == chosen), teams[0] if teams else None)


class PrivatePagesMiddleware:
    """No browser and no proxy keeps a page: after a log-out nobody finds it in a cache. Static files say otherwise
    themselves."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


class TeamMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.team = SimpleLazyObject(lambda: current_team(request))  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., HttpResponse], *_: object) -> HttpResponse | None:
        needs_login = getattr(view, "login_required", True)
        if needs_login and request.user.is_authenticated and not request.team:  # type: ignore[attr-defined]
            return render(request, "accounts/no_team.html", status=403)
        return None
