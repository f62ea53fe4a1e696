"""Where two texts differ, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_WORD = re.compile(r"\w+")
_MOST_WORDS = 3000  # beyond it nothing is marked: comparing would take seconds
_MOST_DIFFERENT = 0.6  # share of words; beyond it the answers are unrelated, and marks would only be noise

Piece = tuple[str, bool]  # a piece of text, and whether the other text lacks it


def marked(a: str, b: str) -> tuple[list[Piece], list[Piece]]:
    """Split both texts into pieces that are marked if the other text lacks them; joined, they give the texts.

    Nothing is marked in texts that are too long to compare, or that share too little.
    """
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
    different = sum(_words_in(text) for text, differs in (*pieces_a, *pieces_b) if differs)
    if different > _MOST_DIFFERENT * (_words_in(a) + _words_in(b)):
        return [(a, False)], [(b, False)]
    return pieces_a, pieces_b


def _words_in(text: str) -> int:
    return len(_WORD.findall(text))
