"""How people come in and look after their account: invitations, a new account, the password, logging out everywhere."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import PasswordChangeForm, UserCreationForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts import services
from webapp.accounts.client_address import remember_browser
from webapp.accounts.invitations import (
    invitation_create,
    invitation_of,
    invitation_use,
    invitation_withdraw,
)
from webapp.accounts.middleware import TeamRequest, current_membership
from webapp.accounts.models import User
from webapp.accounts.numbers import row_key
from webapp.accounts.roles import first_page, open_to_annotators

BACKEND = "django.contrib.auth.backends.ModelBackend"


class NewAccountForm(UserCreationForm):
    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)


@require_POST
def invite(request: TeamRequest) -> HttpResponse:
    """Make an invitation and show its link, this once."""
    _, secret = invitation_create(team=request.team, user=request.user, role=request.POST.get("role", ""),
                                  places=row_key(request.POST.get("places")) or 1)
    request.session["new_invitation"] = request.build_absolute_uri(reverse("join", args=[secret]))
    return redirect("team")


@require_POST
def withdraw(request: TeamRequest, pk: int) -> HttpResponse:
    invitation_withdraw(invitation=get_object_or_404(request.team.invitations, pk=pk))
    messages.success(request, "The invitation is withdrawn: its link lets nobody in any more.")
    return redirect("team")


@login_not_required
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """The page of an invitation's link: join with one's account, or with a new one."""
    invitation = invitation_of(secret)
    if invitation is None:
        return render(request, "accounts/join_closed.html", status=404)
    if request.user.is_authenticated:
        if request.method == "POST":
            return _joined(request, secret, request.user)
        return render(request, "accounts/join.html", {"invitation": invitation})
    form = NewAccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            user = form.save()
            if not invitation_use(invitation=invitation, user=user):
                transaction.set_rollback(True)
                return render(request, "accounts/join_closed.html", status=404)
        login(request, user, backend=BACKEND)
        return _welcome(request, invitation.team.pk, invitation.team.name, user)
    status = 422 if form.errors else 200
    return render(request, "accounts/join.html", {"invitation": invitation, "form": form,
                                                  "log_in": f"{reverse('login')}?next={request.path}"}, status=status)


def _joined(request: HttpRequest, secret: str, user: User) -> HttpResponse:
    invitation = invitation_of(secret)
    if invitation is None or not invitation_use(invitation=invitation, user=user):
        return render(request, "accounts/join_closed.html", status=404)
    return _welcome(request, invitation.team.pk, invitation.team.name, user)


def _welcome(request: HttpRequest, team: int, name: str, user: User) -> HttpResponse:
    request.session["team"] = team
    messages.success(request, f"Welcome to {name}.")
    response = redirect(first_page(current_membership(request)))
    remember_browser(response, user)
    return response


@open_to_annotators
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: TeamRequest) -> HttpResponse:
    """One's account: a form for a new password."""
    form = PasswordChangeForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        update_session_auth_hash(request, request.user)
        messages.success(request, "Your password is changed. Everywhere else you are logged out.")
        return redirect("account")
    return render(request, "accounts/account.html", {"form": form, "teams": request.user.teams.order_by("name")},
                  status=422 if form.errors else 200)


@open_to_annotators
@require_POST
def log_out_everywhere(request: TeamRequest) -> HttpResponse:
    """End every session of the account but this one."""
    services.sessions_end(user=request.user)
    update_session_auth_hash(request, request.user)
    messages.success(request, "You are logged out everywhere else.")
    return redirect("account")
