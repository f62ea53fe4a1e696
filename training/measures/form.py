"""What a response looks like or holds: JSON, a pattern, phrases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import orjson
import regex

from training.errors import MeasureFailed

PATTERN_SECONDS = 1.0
"""A pattern that backtracks without end is given up after so long."""


def valid_json(text: str, top: Literal["any", "object", "list"]) -> float:
    """1 if the response is one JSON text of the kind `top` (RFC 8259: no NaN, no comments, no code fence), else 0."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return 0.0
    return float(top == "any" or isinstance(value, dict if top == "object" else list))


def matches(text: str, pattern: str, whole: bool, ignore_case: bool) -> float:
    """1 if the pattern is found in the response, or is all of it (`whole`), else 0.

    Raises:
        MeasureFailed: the search takes longer than PATTERN_SECONDS.
    """
    compiled = regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    try:
        match = (compiled.fullmatch if whole else compiled.search)(text, timeout=PATTERN_SECONDS)
    except TimeoutError as error:
        raise MeasureFailed(
            f"The pattern '{pattern}' was given up after {PATTERN_SECONDS:g} s on a response of {len(text):,} "
            "characters.", "Write it without repetitions inside repetitions, such as (a+)+.") from error
    return float(match is not None)


def phrases_found(text: str, phrases: Sequence[str]) -> float:
    """Phrases that occur / phrases, 0 to 1. Whole words count; case and the kind of white space do not matter."""
    plain = _plain(text)
    return sum(re.search(rf"(?<!\w){re.escape(_plain(phrase))}(?!\w)", plain) is not None
               for phrase in phrases) / len(phrases)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
