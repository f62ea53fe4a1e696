"""What can be done with users and teams."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify

from webapp.accounts.models import Membership, Role, Team, User
from webapp.accounts.signals import team_created


@transaction.atomic
def team_create(*, name: str, user: User) -> Team:
    """Make a team with its first member, and with what other apps give every new team (`team_created`)."""
    team = Team.objects.create(name=name, slug=_free_slug(name))
    Membership.objects.create(team=team, user=user, role=Role.OWNER)
    team_created.send(sender=Team, team=team, user=user)
    return team


@transaction.atomic
def member_add(*, team: Team, user: User, role: str = Role.MEMBER) -> Membership:
    """Add a person to the team. Who is in it already keeps the role that they have."""
    return Membership.objects.get_or_create(team=team, user=user, defaults={"role": role})[0]


@transaction.atomic
def role_set(*, membership: Membership, role: str, by: Membership) -> None:
    """Give a person another role.

    Raises:
        ValidationError: there is no such role, the person is the last who may see everything, or the change concerns
            owners and `by` is not one (in a team that has an owner).
    """
    if role not in Role.values:
        raise ValidationError(f"“{role[:20]}” is no role. Choose {', '.join(Role.values)}.")
    others = list(Membership.objects.select_for_update().filter(team=membership.team_id).exclude(pk=membership.pk))
    if role == Role.ANNOTATOR and all(other.is_annotator for other in others):
        raise ValidationError("The last member cannot become an annotator: nobody could open the team's pages. Make "
                              "somebody else a member first.")
    has_owner = membership.role == Role.OWNER or any(other.role == Role.OWNER for other in others)
    if Role.OWNER in (role, membership.role) and has_owner and by.role != Role.OWNER:
        raise ValidationError("Only an owner of the team can make somebody an owner or take that role away.")
    Membership.objects.filter(pk=membership.pk).update(role=role)


@transaction.atomic
def member_remove(*, team: Team, user: User) -> bool:
    """Remove a person from the team. Returns False for the last one who is not an annotator, who stays: else nobody
    could open the team's pages."""
    members = list(Membership.objects.select_for_update().filter(team=team))
    if all(member.is_annotator for member in members if member.user_id != user.pk):
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
