"""Login, the team's page, and the theme."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from webapp.accounts import finding, services
from webapp.accounts.client_address import remember_browser
from webapp.accounts.confirming import ask_first
from webapp.accounts.context import THEMES
from webapp.accounts.invitations import MOST_PLACES, open_invitations
from webapp.accounts.middleware import TeamRequest, current_membership
from webapp.accounts.models import Role, User
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import first_page


class LoginPage(views.LoginView):
    template_name = "accounts/login.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        remember_browser(response, form.get_user())
        return response

    def get_default_redirect_url(self) -> str:
        return reverse(first_page(current_membership(self.request)))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"demo": _demo_login()}


def _demo_login() -> dict[str, str] | None:
    """The demo user's login, for a laptop only."""
    if settings.PRODUCTION or not User.objects.filter(username=settings.DEMO_USER).exists():
        return None
    return {"user": settings.DEMO_USER, "password": settings.DEMO_PASSWORD}


def team(request: TeamRequest) -> HttpResponse:
    if request.method == "POST":
        chosen = get_object_or_404(request.user.teams, pk=row_key(request.POST.get("team")))
        request.session["team"] = chosen.pk
        messages.success(request, f"You now work in {chosen.name}.")
        return redirect("team")
    memberships = request.team.memberships.select_related("user").order_by("id")
    teams = request.user.teams.order_by("name")
    return render(request, "accounts/team.html", {
        "memberships": memberships, "teams": teams, "invitations": open_invitations(request.team),
        "new_invitation": request.session.pop("new_invitation", ""), "most_places": MOST_PLACES,
        "roles": Role.choices})


@require_POST
def member_add(request: TeamRequest) -> HttpResponse:
    name = request.POST.get("username", "").strip()
    user = User.objects.filter(username=name, is_active=True).first()
    if user:
        services.member_add(team=request.team, user=user)
        messages.success(request, f"{name} is now a member.")
    else:
        messages.error(request, f"No account has the login name “{name}”. Invite them by a link: they make their own "
                                "account with it.")
    return redirect("team")


@require_POST
def member_remove(request: TeamRequest, pk: int) -> HttpResponse:
    membership = get_object_or_404(request.team.memberships.select_related("user"), pk=pk)
    name = membership.user.get_username()
    question = ask_first(
        request, question=f"Remove {name} from {request.team.name}?", button=f"Remove {name}", back=reverse("team"),
        consequences=[f"{name} loses access to everything of the team. What they created stays with the team.",
                      "Any member can add them again."])
    if question is not None:
        return question
    if services.member_remove(team=request.team, user=membership.user):
        messages.success(request, f"{membership.user.get_username()} is no longer a member of the team.")
    else:
        messages.error(request, "The last member cannot be removed: nobody could add members again.")
    return redirect("team")


@require_safe
def search(request: TeamRequest) -> JsonResponse:
    """What the command palette offers for the words typed so far."""
    results = finding.find(team=request.team, user=request.user, words=request.GET.get("q", ""))
    return JsonResponse({"found": [asdict(place) for place in results]})


@login_not_required
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember the theme in a cookie, so that a page is painted in it from the start."""
    chosen = request.POST.get("theme", "")
    if chosen not in THEMES:
        return HttpResponseBadRequest("No such theme.")
    back = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure())
    # A path only: `redirect` would take anything else for the name of a view.
    response = redirect(back if safe and back.startswith("/") else "home")
    response.set_cookie("theme", chosen, max_age=365 * 24 * 3600, samesite="Lax", secure=settings.PRODUCTION)
    return response
