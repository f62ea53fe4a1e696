"""Where two texts differ, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 3000  # beyond it nothing is marked: comparing would take seconds

Piece = tuple[str, bool]  # a piece of text, and whether the other text lacks it


def marked(a: str, b: str) -> tuple[list[Piece], list[Piece]]:
    """Split both texts into pieces that are marked if the other text lacks them; joined, they give the texts."""
    words_a, words_b = _WORDS.findall(a), _WORDS.findall(b)
    if len(words_a) + len(words_b) > _MOST_WORDS:
        return [(a, False)], [(b, False)]
    pieces_a: list[Piece] = []
    pieces_b: list[Piece] = []
    for kind, a1, a2, b1, b2 in SequenceMatcher(None, words_a, words_b, autojunk=False).get_opcodes():
        if a2 > a1:
            pieces_a.append(("".join(words_a[a1:a2]), kind != "equal"))
        if b2 > b1:
            pieces_b.append(("".join(words_b[b1:b2]), kind != "equal"))
    return pieces_a, pieces_b
