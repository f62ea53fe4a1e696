"""How near a response comes to a given text or answer."""

from __future__ import annotations

import math
import re
from typing import Literal

from rapidfuzz import fuzz

from training.errors import MeasureFailed

LONGEST_TO_COMPARE = 20_000
"""Characters of each text that are compared: the time grows with the product of both lengths."""

_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")


def similarity(text: str, reference: str, by: Literal["characters", "words"]) -> float:
    """1 - d / (length of both), 0 to 1, where d is the fewest characters to insert and delete to get from one text to
    the other; by words: of both texts with their words in alphabetical order.

    Only the first LONGEST_TO_COMPARE characters are compared. Source: `fuzz.ratio` and `fuzz.token_sort_ratio` of the
    package rapidfuzz; the distance is the indel distance.
    """
    compare = fuzz.ratio if by == "characters" else fuzz.token_sort_ratio
    return float(compare(text[:LONGEST_TO_COMPARE].strip(), reference[:LONGEST_TO_COMPARE].strip())) / 100


def exact(text: str, answer: str) -> float:
    """1 if the response is the answer, else 0; case, white space and final periods do not matter (the normalisation of
    SQuAD, arXiv 1606.05250, without its removal of articles)."""
    return float(_normalised(text) == _normalised(answer))


def number(text: str, answer: float, tolerance: float) -> float:
    """1 if the last number of the response is within `tolerance` of the answer, else 0.

    Commas between digits are for thousands: "1,234.5" is 1234.5. Source: how answers to GSM8K are marked (arXiv
    2110.14168).
    """
    value = _last_number(text)
    return float(value is not None and math.isfinite(value) and abs(value - answer) <= tolerance)


def number_in(reference: str) -> float:
    """The last number of a reference answer.

    >>> number_in("She sells 48 / 2 = 24 clips in May. #### 72")
    72.0

    Raises:
        MeasureFailed: it holds none, or one that is too large.
    """
    value = _last_number(reference)
    if value is None or not math.isfinite(value):
        raise MeasureFailed(f"The reference answer '{beginning(reference)}' holds no number.",
                            "Correct it, or choose the measure 'exact', which compares texts.")
    return value


def beginning(text: str) -> str:
    """As much of a text as a message can name."""
    return text if len(text) <= 60 else f"{text[:60]}..."


def _last_number(text: str) -> float | None:
    numbers = _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "").replace("−", "-")[:400]) if numbers else None


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(". ")
