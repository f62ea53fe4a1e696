"""From a judge's answer to a probability or a letter: pure functions, and never a guess.

The original MORLAIF code takes the exact tokens "A" and "B" and puts -10 for a missing one. Here every spelling of a
letter counts, and a missing letter gets the highest probability it can have had.

The text comes from outside and may be anything, so every pattern here takes time linear in its length: quantifiers are
possessive (`*+` never gives back what it took), and no two of them in a row can take the same character.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Letter = Literal["A", "B"]

LEAST_MASS = 0.1
"""If A and B together are less likely than this, the judge was about to say something else, such as a refusal."""

LONGEST_TOKEN = 64  # characters; what is longer is no letter, and is not kept in memory

_SIGNS = r"[\s\"'`*()\[\]{}.:!]*+"
_NAMED = (r"(?i:(?:the\s++)?+(?:(?:final|better|my)\s++)*+"
          r"(?:(?:answer|option|response|choice)\s*+(?:is\b\s*+)?+(?:[:=-]\s*+)?+)++)")
_BARE = re.compile(rf"{_SIGNS}(?:{_NAMED}{_SIGNS})?+([ABab]){_SIGNS}")
# With more words after it, a letter counts if a sign follows it or "option" came before: "A better one" is no answer.
_EXPLAINED = re.compile(rf"{_SIGNS}(?:{_NAMED}{_SIGNS}([AB])\b|([ABab])[).\]:*]++\s)(.*)", re.DOTALL)


def read_answer(text: str) -> Letter | None:
    """The letter that an answer names, or None for a refusal, a tie or anything unclear.

    >>> read_answer(" A."), read_answer("Option B"), read_answer("(b)"), read_answer("A better reply would be")
    ('A', 'B', 'B', None)
    """
    if bare := _BARE.fullmatch(text):
        return _letter(bare[1])
    if explained := _EXPLAINED.fullmatch(text):
        letter = _letter(explained[1] or explained[2])
        other_letter = re.search(r"\bB\b" if letter == "A" else r"\bA\b", explained[3])
        return None if other_letter else letter
    return None


def _letter(text: str) -> Letter:
    return "A" if text in "Aa" else "B"


_LAST = re.compile(rf"(?i:.*\b(?:answer|choice)(?:\s++is|\s*+[:=-])){_SIGNS}([ABab]){_SIGNS}")
_WAVERING = re.compile(r"\b(?:neither|nor|not|or|and|both|if|unless)\b", re.IGNORECASE)


def last_letter(text: str) -> Letter | None:
    """The letter that a judge names on its last line, after it has thought; None if that line names none.

    >>> last_letter("A is longer.\\nSo the answer is: B"), last_letter("Answer: A or B")
    ('B', None)
    """
    last = text.rstrip().rpartition("\n")[2]
    if bare := _BARE.fullmatch(last):
        return _letter(bare[1])
    named = _LAST.fullmatch(last)
    return _letter(named[1]) if named and not _WAVERING.search(last) else None


def letter_of(token: str) -> Letter | None:
    """The letter that a token is a spelling of: "A", " A", "a", "(B", "B." and the like."""
    return _letter_of(token) if len(token) <= LONGEST_TOKEN else None


@lru_cache(maxsize=4096)
def _letter_of(token: str) -> Letter | None:
    bare = token.strip().strip("\"'`*()[]{}.:▁Ġ").upper()
    return "A" if bare == "A" else "B" if bare == "B" else None


def first_is_better(top: Sequence[tuple[str, float]]) -> float | None:
    """P(A) / (P(A) + P(B)) from the most likely first tokens and their natural log-probabilities.

    Spellings of a letter are summed. A letter that is not listed is no more likely than the least likely listed token,
    nor than all the remaining mass: it gets the smaller of the two. None where neither letter is likely (LEAST_MASS).
    """
    listed = [(token, math.exp(min(logprob, 0.0))) for token, logprob in top]
    mass = {"A": 0.0, "B": 0.0}
    for token, probability in listed:
        letter = letter_of(token)
        if letter:
            mass[letter] += probability
    if mass["A"] + mass["B"] < LEAST_MASS:
        return None
    left_over = max(0.0, 1.0 - math.fsum(probability for _, probability in listed))
    unlisted = min(left_over, min(probability for _, probability in listed))
    a, b = mass["A"] or unlisted, mass["B"] or unlisted
    return a / (a + b)


_THOUGHT_ENDS = ("</think>", "</thinking>", "</thought>", "</reasoning>", "[/think]", "◁/think▷",
                 "<|channel|>final<|message|>")
_THOUGHT_BEGINS = ("<think", "<thought", "<reasoning", "[think]", "◁think▷", "<|channel|>analysis")


def without_thinking(text: str) -> tuple[str, bool]:
    """The answer that follows a judge's thinking, and whether there was any; "" where the thinking never ended.

    >>> without_thinking("<think>A is longer.</think>\\nB"), without_thinking("<think>Well"), without_thinking("B")
    (('\\nB', True), ('', True), ('B', False))
    """
    lowered = text.lower()
    if len(lowered) != len(text):  # some characters change length in lower case: positions would not match
        lowered = text
    end = max((place + len(mark) for mark in _THOUGHT_ENDS if (place := lowered.rfind(mark)) >= 0), default=-1)
    if end >= 0:
        return text[end:], True
    begins = [place for mark in _THOUGHT_BEGINS if (place := lowered.find(mark)) >= 0]
    return (text[:min(begins)], True) if begins else (text, False)
