"""What people, or a model, said of two responses on single aspects: ratings, and the probability they give. Torch-free.

A rating is a number per response and aspect, on the scale of its dataset: only which of the two is higher counts.
`overall_preference` is graded instead: its numbers are the probabilities that the first and the second is better. A
preference of strength s out of 3 for the first gives it 1/2 + s/6 (HelpSteer3: slightly 2/3, better 5/6, much 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from training.data.messages import UnusableRow
from training.data.records.cells import parse_json
from training.text import unstorable_reason

Ratings: TypeAlias = dict[str, tuple[float, float]]
"""By aspect, the rating of the first (or chosen) response and of the second."""

MOST_ASPECTS, MOST_CHARACTERS = 20, 64
GRADED = "overall_preference"
COLUMN = "ratings"  # of a file: {"honesty": [4, 2]}, the first or chosen response first
_UNRATED = ("", "n/a", "na", "none", "null")


def probability_of(aspect: str, first: float, second: float, lower_is_better: bool = False) -> float:
    """The probability that the first response is better on an aspect: 1, 0, or 1/2 for a tie; graded for GRADED.

    Args:
        lower_is_better: a lower rating is better, as for verbosity where a principle asks for conciseness.
    """
    better = first if aspect == GRADED else 0.5 if first == second else float(first > second)
    return 1 - better if lower_is_better else better


def probabilities_of(rows: Iterable[Mapping[str, Any]], choice: str) -> dict[str, float]:
    """By pair, the probability that its A is better.

    Args:
        rows: of a run's `ratings.jsonl`: {"pair": digest, "ratings": {aspect: [of A, of B]}}.
        choice: an aspect as a recipe names it, with a "-" before it where less is better.
    """
    aspect, less = choice.removeprefix("-"), choice.startswith("-")
    pairs = ((row["pair"], row["ratings"][aspect]) for row in rows if aspect in row["ratings"])
    return {digest: probability_of(aspect, first, second, less) for digest, (first, second) in pairs}


def graded(strength: float, most: float) -> tuple[float, float]:
    """The two numbers of GRADED for a preference from -`most` (the second is better) to `most` (the first is)."""
    share = strength / most
    return (1 + share) / 2, (1 - share) / 2


def rating_at(record: Mapping[str, Any], name: str) -> float | None:
    """A rating, also as text; None where nobody rated.

    Raises:
        UnusableRow: there is something else than a finite number.
    """
    return _number(record.get(name), f"'{name}'")


def ratings_of_pair(first: Mapping[str, float], second: Mapping[str, float]) -> Ratings | None:
    """The ratings of two responses on the aspects on which both are rated; None where there is no such aspect."""
    return {aspect: (rating, second[aspect]) for aspect, rating in first.items() if aspect in second} or None


def in_other_order(ratings: Ratings | None) -> Ratings | None:
    """The ratings of the same pair with its responses in the other order."""
    return ratings and {aspect: (second, first) for aspect, (first, second) in ratings.items()}


def is_ratings(value: Any) -> bool:
    """Whether a column named COLUMN holds ratings of two responses, rather than something of its dataset's own."""
    value = _read(value)
    return isinstance(value, Mapping) and bool(value) and all(
        pair is None or (isinstance(pair, list | tuple) and len(pair) == 2) for pair in value.values())


def ratings_at(record: Mapping[str, Any]) -> Ratings | None:
    """The ratings in COLUMN, checked; aspects on which a response is unrated are left out.

    Raises:
        UnusableRow: a rating is no finite number, or there are too many aspects or one with an unusable name.
    """
    if not is_ratings(record.get(COLUMN)):
        return None
    ratings: Ratings = {}
    for aspect, pair in _read(record[COLUMN]).items():
        numbers = [_number(value, f"the rating '{str(aspect)[:MOST_CHARACTERS]}'") for value in pair or (None, None)]
        if numbers[0] is not None and numbers[1] is not None:
            ratings[str(aspect)] = (numbers[0], numbers[1])
    refuse_unusable(ratings)
    return ratings or None


def refuse_unusable(ratings: Ratings) -> None:
    """Raise UnusableRow for more aspects than are kept, or a name or a graded preference that cannot be used."""
    if len(ratings) > MOST_ASPECTS:
        raise UnusableRow(f"it is rated on {len(ratings)} aspects; at most {MOST_ASPECTS} are kept")
    for aspect in ratings:
        if not 0 < len(aspect.strip()) <= MOST_CHARACTERS or unstorable_reason(aspect):
            raise UnusableRow(f"an aspect is named {aspect[:MOST_CHARACTERS]!r}: a name has 1 to {MOST_CHARACTERS} "
                              "characters that can be stored")
    first, second = ratings.get(GRADED, (0.5, 0.5))
    if not (0 <= first <= 1 and abs(first + second - 1) < 1e-6):
        raise UnusableRow(f"'{GRADED}' is {first:g} and {second:g}: two probabilities that sum to 1 are expected")


def _number(value: Any, name: str) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in _UNRATED):
        return None
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UnusableRow(f"{name} is {str(value)[:50]!r}, not a number")
    return number


def _read(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            return parse_json(value)
        except ValueError:
            return None
    return value
