"""Queries about principles, used by the pages of every app."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from training.config.principles import library
from webapp.accounts.models import Team
from webapp.principles.models import Principle


def hues(*, team: Team, also: Sequence[str] = ()) -> dict[str, str]:
    """Colours by name: the library's, overridden by the team's own.

    Args:
        also: names of principles that stand in a recipe alone; those that nobody gave a hue get the library's in turn.
    """
    shipped = {name: principle.hue for name, principle in library().items()}
    known = shipped | dict(Principle.objects.of(team).values_list("name", "hue"))
    return known | dict(zip((name for name in also if name not in known), cycle(shipped.values()), strict=False))


def principles_by_name(team: Team) -> dict[str, Principle]:
    return {principle.name: principle for principle in Principle.objects.of(team)}
