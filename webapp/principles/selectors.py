"""Queries about principles, used by the pages of every app."""

from __future__ import annotations

from training.config.principles import library
from webapp.accounts.models import Team
from webapp.principles.models import Principle


def hues(*, team: Team) -> dict[str, str]:
    """Colours by name: the library's, overridden by the team's own."""
    shipped = {name: principle.hue for name, principle in library().items()}
    return shipped | dict(Principle.objects.of(team).values_list("name", "hue"))


def principles_by_name(team: Team) -> dict[str, Principle]:
    return {principle.name: principle for principle in Principle.objects.of(team)}
