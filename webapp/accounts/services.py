"""What can be done with users and teams."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import transaction
from django.utils.text import slugify

from webapp.accounts.models import Membership, Team, User
from webapp.accounts.signals import team_created


@transaction.atomic
def team_create(*, name: str, user: User) -> Team:
    """Make a team with its first member, and with what other apps give every new team (`team_created`)."""
    team = Team.objects.create(name=name, slug=_free_slug(name))
    Membership.objects.create(team=team, user=user)
    team_created.send(sender=Team, team=team, user=user)
    return team


@transaction.atomic
def member_add(*, team: Team, user: User) -> Membership:
    return Membership.objects.get_or_create(team=team, user=user)[0]


@transaction.atomic
def member_remove(*, team: Team, user: User) -> bool:
    """Remove a person from the team. Returns False for the last member, who stays: else nobody could reach the team."""
    members = list(Membership.objects.select_for_update().filter(team=team))
    if len(members) < 2:
        return False
    return bool(Membership.objects.filter(team=team, user=user).delete()[0])


def sessions_end(*, user: User) -> None:
    """End every session of an account; the one that asks must be told the new hash (`update_session_auth_hash`)."""
    user.session_salt = secrets.token_hex(16)
    user.save(update_fields=["session_salt"])


@transaction.atomic
def demo_seed() -> Team:
    """The demo user and the demo team; changes nothing that is there already. Never called in production by itself."""
    user, created = User.objects.get_or_create(username=settings.DEMO_USER, defaults={"is_staff": True})
    if created:
        user.set_password(settings.DEMO_PASSWORD)
        user.save(update_fields=["password"])
    # The review pages are Django's admin: the demo user may look at everything there and decide on labels.
    rights = Permission.objects.filter(content_type__app_label__in=["labels", "principles", "datasets"])
    user.user_permissions.add(*rights.filter(codename__startswith="view_"),
                              *rights.filter(codename="change_label"))
    team = Team.objects.filter(slug="demo-team").first() or team_create(name="Demo team", user=user)
    member_add(team=team, user=user)
    return team


def _free_slug(name: str) -> str:
    base = slugify(name)[:80] or "team"
    taken = set(Team.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for number in range(len(taken) + 1)
                if (slug := f"{base}-{number + 1}" if number else base) not in taken)
