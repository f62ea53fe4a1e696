"""The search of the command palette: pages, actions, and the team's named rows that have a page.

Each app registers its own models when Django starts (`make_searchable`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.urls import reverse

from webapp.accounts.context import nav
from webapp.accounts.models import Team, TeamOwned, User

EACH = 6
_ACTIONS = (("New run", "runs:new"), ("New principle", "principles:new"), ("New dataset", "datasets:new"),
            ("New judge", "judges:new"), ("Team", "team"))
# By kind: its place among the kinds, its model, and the columns that a function makes a title from.
_SEARCHABLE: dict[str, tuple[int, type[TeamOwned], tuple[str, ...], Callable[..., str]]] = {}


@dataclass(frozen=True)
class SearchResult:
    title: str
    kind: str
    address: str


def make_searchable(model: type[TeamOwned], *, place: int, columns: tuple[str, ...] = ("name",),
                    title: Callable[..., str] = str) -> None:
    """Make a model's rows searchable by `name`; their page is `KINDs:detail`, such as `runs:detail` for a run.

    Args:
        place: the rank of this kind among the results; the lowest comes first.
        columns: what `title` makes a result's title from.
    """
    _SEARCHABLE[str(model._meta.model_name)] = (place, model, columns, title)


def find(*, team: Team, user: User, words: str) -> list[SearchResult]:
    """Places whose title contains the words, ignoring case; without words, only the pages."""
    text = words.strip().lower()[:100]
    pages = [SearchResult(item.title, "page", item.address) for item in nav("", user.is_staff)]
    pages += [SearchResult(title, "action", reverse(name)) for title, name in _ACTIONS]
    return [place for place in pages if text in place.title.lower()] + (list(_rows(team, text)) if text else [])


def _rows(team: Team, text: str) -> Iterator[SearchResult]:
    for kind, (_, model, columns, title) in sorted(_SEARCHABLE.items(), key=lambda item: item[1][0]):
        matches = model.objects.of(team).filter(name__icontains=text).order_by("-pk")
        for pk, *values in matches.values_list("pk", *columns)[:EACH]:
            yield SearchResult(title(*values), kind, reverse(f"{kind}s:detail", args=[pk]))
