"""What people answered about several responses: a name, a place, or a ranking, of one person or of many.

Each answer gives points to responses; who has most is the chosen one. A tie, no answer, and an answer that cannot be
understood give none, so that such a pair stays undecided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.data.formats.spelling import place_of

_TIES = {"tie", "ties", "equal", "same", "both", "neither", "none", "bothbad", "bothgood", "tiebothbad", "draw"}
_SIDES = {"left": 0, "right": 1}


def points(answers: Iterable[Any], names: Sequence[str]) -> list[float | None]:
    """The points of each response over all answers; None for all where nobody answered."""
    total = [0.0] * len(names)
    answered = False
    for answer in answers:
        ranks = {place: rank for part, rank in _ranking(answer) if (place := named(part, names)) is not None}
        if ranks or is_tie(answer):
            answered = True
        for place, rank in ranks.items():
            total[place] += len(names) - rank
    return list(total) if answered else [None] * len(names)


def named(answer: Any, names: Sequence[str]) -> int | None:
    """Which response an answer names, None where it names none, or not one alone."""
    if isinstance(answer, bool) or not isinstance(answer, str | int):
        return None
    word = _plain(answer)
    plain = [_plain(name) for name in names]
    if word in plain:
        return plain.index(word)
    places = [place_of(name) for name in names]
    place = place_of(str(answer).strip()) or word
    if place in places:
        return places.index(place)
    return _SIDES.get(place) if len(names) == 2 else None


def is_tie(answer: Any) -> bool:
    return isinstance(answer, str) and _plain(answer) in _TIES


def _ranking(answer: Any) -> list[tuple[Any, float]]:
    """The names in an answer with their ranks, 0 for the best: one name, a list from best to worst, or ranks with
    values, where equal ranks are a tie."""
    if isinstance(answer, Mapping) and isinstance(answer.get("rank"), list) and isinstance(answer.get("value"), list):
        answer = [{"rank": rank, "value": value}
                  for rank, value in zip(answer["rank"], answer["value"], strict=False)]
    if isinstance(answer, list) and answer and all(isinstance(item, Mapping) for item in answer):
        ranks = [item.get("rank") for item in answer]
        if not all(isinstance(rank, int | float) for rank in ranks):
            return []
        return [(item.get("value"), rank - min(ranks)) for item, rank in zip(answer, ranks, strict=True)]
    if isinstance(answer, Mapping):
        return [(answer.get("value"), 0)]
    return [(name, rank) for rank, name in enumerate(answer if isinstance(answer, list) else [answer])]


def _plain(answer: Any) -> str:
    return re.sub(r"[^a-z0-9]", "", str(answer)[:60].lower())
