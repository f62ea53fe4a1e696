"""Puts the current team on every request, refuses who is in no team and annotators, and keeps pages out of caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.utils.functional import SimpleLazyObject

from training.text import storable, unstorable_reason
from webapp.accounts.roles import ANNOTATORS_MAY, may_open

if TYPE_CHECKING:
    from webapp.accounts.models import Membership, Team, User


class TeamRequest(HttpRequest):
    """What a view gets: the request of a logged-in member."""

    team: Team
    membership: Membership
    user: User


def current_membership(request: HttpRequest) -> Membership | None:
    """The user's membership in the team chosen in the session if the user is in it, else in the user's first."""
    if not request.user.is_authenticated:
        return None
    memberships = list(request.user.memberships.select_related("team").order_by("id"))
    chosen = request.session.get("team")
    return next((membership for membership in memberships if membership.team_id == chosen),
                memberships[0] if memberships else None)


def _team_of(membership: Membership | None) -> Team | None:
    return membership.team if membership else None


class PrivatePagesMiddleware:
    """Tells browsers and proxies not to cache pages, so that none can be read after a log-out. Static files set their
    own cache headers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


class StorableTextMiddleware:
    """Stops characters that a database cannot store (`training.text`), in whatever field they come.

    In an address or a cookie, which only look something up, the character is replaced, so that nothing matches. A form,
    whose fields would be stored, is refused with the name of the field.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.COOKIES = {name: storable(value) for name, value in request.COOKIES.items()}
        if any(unstorable_reason(text) for text in _texts(request.GET)):
            query = QueryDict(mutable=True)
            for name, values in request.GET.lists():
                query.setlist(storable(name), [storable(value) for value in values])
            request.GET = query  # type: ignore[assignment]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: object) -> HttpResponse | None:
        if request.method != "POST":
            return None
        fields = [(name, [str(value) for value in values]) for name, values in request.POST.lists()]
        fields += [(name, [str(getattr(file, "name", ""))]) for name, file in request.FILES.items()]
        for name, texts in fields:
            for text in (name, *texts):
                if reason := unstorable_reason(text):
                    return render(request, "422.html", {"field": storable(name)[:60], "reason": reason}, status=422)
        return None


def _texts(query: QueryDict) -> Iterator[str]:
    for name, values in query.lists():
        yield name
        yield from values


class TeamMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.membership = SimpleLazyObject(lambda: current_membership(request))  # type: ignore[attr-defined]
        request.team = SimpleLazyObject(lambda: _team_of(request.membership))  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., HttpResponse], *_: object) -> HttpResponse | None:
        needs_login = getattr(view, "login_required", True)
        if not needs_login or not request.user.is_authenticated:
            return None
        if not request.team:  # type: ignore[attr-defined]
            return render(request, "accounts/no_team.html", status=403)
        if not may_open(request.membership, view):  # type: ignore[attr-defined]
            return render(request, "accounts/for_members.html", {"may": ANNOTATORS_MAY}, status=403)
        return None
