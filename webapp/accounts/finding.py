"""What the command palette finds by a few letters: pages, actions, and the team's runs, principles and data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import reverse

from webapp.accounts.context import nav
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.principles.models import Principle
from webapp.runs.models import Run

EACH = 6
_ACTIONS = (("New run", "runs:new"), ("New principle", "principles:new"), ("New dataset", "datasets:new"),
            ("New judge", "judges:new"), ("Team", "team"))


@dataclass(frozen=True)
class Place:
    title: str
    kind: str
    address: str


def find(*, team: Team, user: User, words: str) -> list[Place]:
    """Places whose title holds the words, in any case; without words the pages alone."""
    wanted = words.strip().lower()[:100]
    pages = [Place(item.title, "page", item.address) for item in nav("", user.is_staff)]
    pages += [Place(title, "action", reverse(name)) for title, name in _ACTIONS]
    return [place for place in pages if wanted in place.title.lower()] + (list(_rows(team, wanted)) if wanted else [])


def _rows(team: Team, wanted: str) -> Iterator[Place]:
    for kind, model in (("run", Run), ("principle", Principle), ("dataset", Dataset)):
        found = model.objects.of(team).filter(name__icontains=wanted).order_by("-pk")
        for pk, name in found.values_list("pk", "name")[:EACH]:
            yield Place(name, kind, reverse(f"{kind}s:detail", args=[pk]))
