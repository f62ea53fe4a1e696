"""What the command palette finds by a few letters: pages, actions, and the team's things that have a name and a page.

Which things these are is told by the apps that own them, each when Django starts (`make_searchable`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import reverse

from webapp.accounts.context import nav
from webapp.accounts.models import Team, TeamOwned, User

EACH = 6
_ACTIONS = (("New run", "runs:new"), ("New principle", "principles:new"), ("New dataset", "datasets:new"),
            ("New judge", "judges:new"), ("Team", "team"))
_SEARCHABLE: dict[str, tuple[int, type[TeamOwned]]] = {}  # by kind, with the place among the kinds


@dataclass(frozen=True)
class Place:
    title: str
    kind: str
    address: str


def make_searchable(model: type[TeamOwned], *, place: int) -> None:
    """Let rows of the model be found by their `name`; their page is `KINDs:detail`, such as `runs:detail` of a run.

    Args:
        place: among the kinds of what is found; the lowest comes first.
    """
    _SEARCHABLE[str(model._meta.model_name)] = (place, model)


def find(*, team: Team, user: User, words: str) -> list[Place]:
    """Places whose title holds the words, in any case; without words the pages alone."""
    wanted = words.strip().lower()[:100]
    pages = [Place(item.title, "page", item.address) for item in nav("", user.is_staff)]
    pages += [Place(title, "action", reverse(name)) for title, name in _ACTIONS]
    return [place for place in pages if wanted in place.title.lower()] + (list(_rows(team, wanted)) if wanted else [])


def _rows(team: Team, wanted: str) -> Iterator[Place]:
    for kind, (_, model) in sorted(_SEARCHABLE.items(), key=lambda item: item[1][0]):
        found = model.objects.of(team).filter(name__icontains=wanted).order_by("-pk")
        for pk, name in found.values_list("pk", "name")[:EACH]:
            yield Place(name, kind, reverse(f"{kind}s:detail", args=[pk]))
