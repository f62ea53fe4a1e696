"""The columns that hold several responses to one prompt, in every spelling: response_a, answer1, "Completion B", left.

A name is a place (a, 1, first, left) with or without a word for a response; the names of one file share the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = (r"(?:(?:(?:model|ai|assistant|candidate|llm)[ _.-]?)?(?:response|answer|completion|output|reply|generation|"
          r"candidate|option|summary|continuation|text)(?:[ _.-]?text)?)?")
_PLACES = ("a", "b", "c", "d", "e", "f", "g", "h", *map(str, range(10)), "one", "two", "first", "second", "left",
           "right")
_PLACE = "|".join(sorted(_PLACES, key=len, reverse=True))
_AFTER = re.compile(rf"(?P<word>{_WORDS})[ _.-]?(?P<place>{_PLACE})", re.IGNORECASE)
_BEFORE = re.compile(rf"(?P<place>{_PLACE})[ _.-]?(?P<word>{_WORDS})", re.IGNORECASE)
_STARTS = (("a", "b"), ("0", "1"), ("1", "2"), ("one", "two"), ("first", "second"), ("left", "right"))
_PROMPTS = ("prompt", "question", "instruction", "query", "context", "messages", "conversation", "input", "text")


def response_names(columns: Iterable[str]) -> list[str]:
    """The names of the responses in order of their places; none where no two belong together."""
    by_word: dict[str, dict[str, str]] = {}
    for column in columns:
        for pattern in (_AFTER, _BEFORE):
            if match := pattern.fullmatch(column[:60]):
                places = by_word.setdefault(f"{pattern is _BEFORE}{_plain(match['word'])}", {})
                places.setdefault(match["place"].lower(), column)
    for places in by_word.values():
        for start in _STARTS:
            if all(place in places for place in start):
                first = _PLACES.index(start[0])
                if start[0] in ("one", "first", "left"):
                    return [places[place] for place in start]
                rows = []
                for place in _PLACES[first: first + 10]:
                    if place not in places or place.isdigit() != start[0].isdigit():
                        break
                    rows.append(places[place])
                return rows
    return []


def place_of(name: str) -> str:
    """The place in the name of a response: "b" of response_b."""
    match = _AFTER.fullmatch(name[:60]) or _BEFORE.fullmatch(name[:60])
    return match["place"].lower() if match else ""


def prompt_name(columns: Iterable[str]) -> str | None:
    """The column that holds the prompt, by the usual names."""
    there = {column.lower(): column for column in columns}
    return next((there[name] for name in _PROMPTS if name in there), None)


def _plain(name: str) -> str:
    return re.sub(r"[ _.-]", "", name.lower())
