"""What labels can be filtered by that is of higher apps: they say themselves which labels belong to, say, a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q

from webapp.accounts.models import Team, TeamOwned


@dataclass(frozen=True)
class Owner:
    """A model to whose rows labels belong, though no foreign key says so."""

    model: type[TeamOwned]
    labels_of: Callable[[Team, int], Q]  # which of the team's labels belong to the row of this key


OWNERS: dict[str, Owner] = {}  # by the name of the filter's field


def add_filter(name: str, model: type[TeamOwned], labels_of: Callable[[Team, int], Q]) -> None:
    """Let `forms.LabelFilterForm` choose among the team's rows of a model. Called when Django starts."""
    OWNERS[name] = Owner(model, labels_of)
