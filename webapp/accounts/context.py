"""What the frame around every page needs: the team, the rail's addresses, the theme."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

THEMES = ("system", "light", "dark")
_RAIL = (
    ("Runs", "runs:list", "runs"),
    ("Principles", "principles:list", "principles"),
    ("Datasets", "datasets:list", "datasets"),
    ("Labels", "labels:list", "labels"),
    ("Judges", "judges:list", "judges"),
    ("Playground", "playground:page", "playground"),
    ("Arena", "arena:list", "arena"),
)
_PART_OF = {"runs": ("sweeps:list", "fronts:list"), "judges": ("calibration:set_list",)}
"""Places with an address of their own that stand in the rail under another one, by its icon."""

_ANNOTATORS_RAIL = (("Review", "review:list", "review"), ("Arena", "arena:list", "arena"))


@dataclass(frozen=True)
class NavItem:
    title: str
    address: str
    icon: str
    current: bool
    apart: bool = False
    folded: bool = False  # on a phone in the menu: its bar holds six places


def frame(request: HttpRequest) -> dict[str, object]:
    theme = request.COOKIES.get("theme", "system")
    context: dict[str, object] = {"theme": theme if theme in THEMES else "system"}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return context
    team = getattr(request, "team", None)
    if team and request.membership.is_annotator:  # type: ignore[attr-defined]
        return context | {"team": team, "is_annotator": True, "nav": annotators_nav(request.path)}
    return context | {
        "team": team,
        "nav": nav(request.path, user.is_staff) if team else [],
        "running_now": _address("runs:running") if team else "",
        "search": _address("search") if team else "",
    }


def annotators_nav(path: str) -> list[NavItem]:
    """The places of an annotator's rail."""
    return [NavItem(title, address, icon, path.startswith(address))
            for title, name, icon in _ANNOTATORS_RAIL if (address := _address(name))]


def nav(path: str, staff: bool) -> list[NavItem]:
    """The places of the rail; `path` is where one is."""
    places = [*_RAIL, ("Review", "admin:index", "review")] if staff else _RAIL
    items = [(title, _address(name), icon) for title, name, icon in places]
    return [NavItem(title, address, icon, path.startswith((address, *_addresses(_PART_OF.get(icon, ())))),
                    apart=icon == "review", folded=icon == "judges")
            for title, address, icon in items if address]


def _addresses(names: Iterable[str]) -> Iterator[str]:
    return filter(None, map(_address, names))


def _address(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""
