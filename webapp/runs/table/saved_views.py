"""Saved views of a team's table of runs: a name for the query of its address."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from training.errors import BadSettings
from webapp.accounts.models import Team, User
from webapp.runs.models import SavedView

LONGEST_NAME, LONGEST_QUERY, MOST = 60, 2000, 40


def views_of(team: Team) -> list[SavedView]:
    return list(SavedView.objects.of(team))


def view_save(*, team: Team, user: User, name: str, query: str) -> SavedView:
    """Keep an address's query under a name.

    Raises:
        BadSettings: the name is empty, too long or taken, the query is too long, or the team has many views.
    """
    name = _checked(name)
    if len(query) > LONGEST_QUERY:
        raise BadSettings(f"This view has an address of {len(query):,} characters.",
                          f"Take columns or words away: {LONGEST_QUERY:,} can be kept.")
    if SavedView.objects.of(team).count() >= MOST:
        raise BadSettings(f"The team has {MOST} saved views.", "Delete one that nobody uses.")
    try:
        with transaction.atomic():
            return SavedView.objects.create(team=team, name=name, query=query, created_by=user)
    except IntegrityError:
        raise _taken(name) from None


def view_rename(*, view: SavedView, name: str) -> None:
    """Raises BadSettings: the name is empty, too long or taken."""
    name = _checked(name)
    try:
        with transaction.atomic():
            SavedView.objects.filter(pk=view.pk).update(name=name)
    except IntegrityError:
        raise _taken(name) from None


def view_delete(*, view: SavedView) -> None:
    SavedView.objects.filter(pk=view.pk).delete()


def _checked(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME:
        raise BadSettings(f"The name of the view has {len(name)} characters.", f"Give one of 1 to {LONGEST_NAME}.")
    return name


def _taken(name: str) -> BadSettings:
    return BadSettings(f"There is a view “{name}” already.", "Choose another name, or delete that view first.")
