"""Each measure on texts whose number was worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from training.config.measure import Measure
from training.measures import make_measure

SETTINGS: TypeAdapter[Any] = TypeAdapter(Measure)


def measured(text: str, kind: str, **settings: Any) -> float:
    return make_measure(SETTINGS.validate_python({"kind": kind, **settings}))([], text)


@pytest.mark.parametrize(("kind", "text", "number"), [
    ("words", "Don't stop: a well-known 3.5 🙂", 6),
    ("words", "", 0),
    ("sentences", "One. Two! Three? Four", 4),
    ("sentences", 'He said "no." Then he left...', 2),
    ("sentences", "It costs 3.50 at example.com.", 1),
    ("sentences", "你好。再见！", 2),
    ("sentences", "... !!!", 0),
    ("reading_ease", "The cat sat on the mat.", 206.835 - 1.015 * 6 - 84.6),
    ("reading_ease", "I ran. The table broke.", 206.835 - 1.015 * 5 / 2 - 84.6 * 6 / 5),
    ("reading_ease", "ba" * 500, -100),
    ("reading_ease", "🙂", 0),
    ("sentiment", "The box is on the table.", 0),
    ("sentiment", "I love this", 3.2 / (3.2 ** 2 + 15) ** 0.5),  # VADER's valence of "love" is 3.2
    ("sentiment", "I love this. The box is here.", 3.2 / (3.2 ** 2 + 15) ** 0.5 / 2),
    ("profanity", "Damn, that is bad", 1 / 4),
    ("profanity", "Scunthorpe is a town", 0),
    ("longest_repeat", "a b c x a b c y", 3),
    ("longest_repeat", "no no no", 2),
    ("longest_repeat", "each word differs", 0),
    ("longest_repeat", "The cat and the CAT", 2),
    ("refusal", "I’m sorry, but I can’t help with that.", 1),
    ("refusal", "I cannot\nhelp with that", 1),
    ("refusal", "Of course. Take two eggs.", 0),
    ("refusal", "x" * 500 + " I cannot help", 0),
])
def test_measures_without_settings(kind: str, text: str, number: float) -> None:
    assert measured(text, kind) == pytest.approx(number, abs=1e-4)


@pytest.mark.parametrize(("kind", "chosen", "text", "number"), [
    ("distinct_ngrams", {"n": 1}, "a b a b", 2 / 4),
    ("distinct_ngrams", {"n": 2}, "a b a b", 2 / 3),
    ("distinct_ngrams", {"n": 5}, "a b", 1),
    ("json", {}, ' {"a": [1, 2]} ', 1),
    ("json", {}, "NaN", 0),
    ("json", {}, "[" * 100_000, 0),
    ("json", {"top": "object"}, "[1]", 0),
    ("json", {"top": "list"}, "[1]", 1),
    ("pattern", {"pattern": r"\d{3}"}, "call 123 now", 1),
    ("pattern", {"pattern": r"\d{3}", "whole": True}, "call 123 now", 0),
    ("pattern", {"pattern": "HELLO", "ignore_case": True}, "hello", 1),
    ("phrases", {"phrases": ["for example", "in short", "e.g."]}, "For\n example, e.g. this", 2 / 3),
    ("phrases", {"phrases": ["cat"]}, "concatenate", 0),
    ("similarity", {"reference": "abcd"}, "abxd", 1 - 2 / 8),  # one deleted, one inserted
    ("similarity", {"reference": "the red house", "by": "words"}, "house the red", 1),
    ("similarity", {"reference": "abcd"}, "", 0),
    ("exact", {"answer": "Paris"}, " paris. ", 1),
    ("exact", {"answer": "Paris"}, "It is Paris", 0),
    ("number", {"answer": 1234.5}, "First 3, then 1,234.5.", 1),
    ("number", {"answer": -2}, "So x = −2", 1),
    ("number", {"answer": 3, "tolerance": 0.2}, "about 3.1", 1),
    ("number", {"answer": 3}, "about 3.1", 0),
    ("number", {"answer": 3}, "no number", 0),
    ("number", {"answer": 3}, "9" * 1000, 0),
])
def test_measures_with_settings(kind: str, chosen: dict[str, Any], text: str, number: float) -> None:
    assert measured(text, kind, **chosen) == pytest.approx(number, abs=1e-9)
