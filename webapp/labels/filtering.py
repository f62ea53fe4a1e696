"""Lets higher apps add filters of labels: each says which labels belong to one of its rows, such as a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Q

from webapp.accounts.models import Team, TeamOwned


@dataclass(frozen=True)
class Owner:
    """A model whose rows own labels, though without a foreign key."""

    model: type[TeamOwned]
    labels_of: Callable[[Team, int], Q]  # which of the team's labels belong to the row of this key


OWNERS: dict[str, Owner] = {}  # by the name of the filter's field


def add_filter(name: str, model: type[TeamOwned], labels_of: Callable[[Team, int], Q]) -> None:
    """Let `forms.LabelFilterForm` choose among the team's rows of a model. Called when Django starts."""
    OWNERS[name] = Owner(model, labels_of)
