"""Invitations: a link that a member hands out, by which people join a team, with a new account or their own.

The secret in the link is shown once, when it is made; the database holds its digest, so that who reads a backup cannot
join. A link has a number of places and a last day, and any member can withdraw it.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webapp.accounts.models import Invitation, Membership, Role, Team, User
from webapp.accounts.services import member_add

VALID = timedelta(days=7)
MOST_PLACES = 50


def invitation_create(*, team: Team, user: User, places: int, role: str = Role.MEMBER) -> tuple[Invitation, str]:
    """A new invitation, and the secret of its link. Who joins by it gets the role, of member or annotator."""
    secret = secrets.token_urlsafe(24)
    invitation = Invitation.objects.create(
        team=team, digest=_digest(secret), created_by=user, expires_at=timezone.now() + VALID,
        places=min(max(places, 1), MOST_PLACES),
        role=Role.ANNOTATOR if role == Role.ANNOTATOR else Role.MEMBER)
    return invitation, secret


def invitation_of(secret: str) -> Invitation | None:
    """The invitation of a link that can still be used, else None."""
    invitation = Invitation.objects.select_related("team", "created_by").filter(digest=_digest(secret)).first()
    return invitation if invitation is not None and invitation.is_open else None


@transaction.atomic
def invitation_use(*, invitation: Invitation, user: User) -> bool:
    """Add a person to the team and take one place; False if the last place went to somebody else meanwhile."""
    if Membership.objects.filter(team=invitation.team, user=user).exists():
        return True
    taken = Invitation.objects.filter(pk=invitation.pk, places__gt=0, expires_at__gt=timezone.now()).update(
        places=F("places") - 1)
    if taken:
        member_add(team=invitation.team, user=user, role=invitation.role)
    return bool(taken)


def invitation_withdraw(*, invitation: Invitation) -> None:
    invitation.delete()


def open_invitations(team: Team) -> list[Invitation]:
    invitations = team.invitations.filter(places__gt=0, expires_at__gt=timezone.now())
    return list(invitations.select_related("created_by"))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
