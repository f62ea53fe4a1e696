"""Lets a higher app say what a label trained, so that a person knows what a correction touches before making it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from webapp.labels.models import Label


@dataclass(frozen=True)
class LabelUses:
    """The runs whose preference model was trained on labels of this one's wording, judge and data.

    Attributes:
        runs: keys and addresses of the newest of them.
        count: how many there are in all, counted up to fifty.
        again: the address of the page that trains again what a correction touches.
    """

    runs: list[tuple[int, str]]
    count: int
    again: str


_USES_OF: list[Callable[[Label], LabelUses]] = []


def tell_uses(uses_of_label: Callable[[Label], LabelUses]) -> None:
    """Let the pages of labels say what a label trained. Called when Django starts."""
    _USES_OF[:] = [uses_of_label]


def uses_of(label: Label) -> LabelUses | None:
    """What the label trained; None where nobody can say. The label comes with its pair, wording and principle."""
    return _USES_OF[0](label) if _USES_OF else None
