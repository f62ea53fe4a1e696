"""Whatever a response is, a measure gives one finite number, soon, and always the same."""

from __future__ import annotations

import math
import time
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from training.config.measure import Measure
from training.errors import MeasureFailed
from training.measures import make_measure

SETTINGS: TypeAdapter[Any] = TypeAdapter(Measure)
CHOICES: dict[str, dict[str, Any]] = {
    "words": {}, "sentences": {}, "reading_ease": {}, "sentiment": {}, "profanity": {}, "refusal": {},
    "distinct_ngrams": {"n": 3}, "longest_repeat": {}, "json": {}, "pattern": {"pattern": r"\w+!"},
    "phrases": {"phrases": ["in short", "..."]}, "similarity": {"reference": "Take two eggs. " * 600, "by": "words"},
    "exact": {"answer": "42"}, "number": {"answer": 42}}
MEASURES = {kind: make_measure(SETTINGS.validate_python({"kind": kind, **chosen})) for kind, chosen in CHOICES.items()}
LONG = {"one word": "a", "words": "good ", "other words": "but bad 1, ", "periods": ".", "closed": ".)", "quotes": "'",
        "spaces": " ", "brackets": "[", "emoji": "🙂", "digits": "1,", "joined": "-a", "lines": "e.g.\n"}


def test_every_measure_is_tried_here() -> None:
    kinds = {get_args(choice)[1].tag for choice in get_args(get_args(Measure)[0])}
    assert kinds == {*CHOICES, "added"}


@given(text=st.one_of(st.text(), st.text(alphabet="ab .!?'\"()[]{},1-−é🙂👩‍👩‍👧\n\u200b\ud800", max_size=200)))
@settings(max_examples=150, deadline=None)
def test_every_text_has_one_finite_number(text: str) -> None:
    for kind, function in MEASURES.items():
        number = function([], text)
        assert isinstance(number, float) and math.isfinite(number), kind
        assert function([], text) == number, kind


@given(text=st.text(alphabet="ab cd", max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_longest_repeat_is_that_of_all_pairs_of_places(text: str) -> None:
    words = text.split()
    longest = max((length for length in range(1, len(words)) for i in range(len(words) - length)
                   for j in range(i + 1, len(words) - length + 1)
                   if words[i:i + length] == words[j:j + length]), default=0)
    assert MEASURES["longest_repeat"]([], text) == longest


@pytest.mark.parametrize("name", LONG)
def test_a_very_long_text_takes_linear_time(name: str) -> None:
    """100,000 characters within two seconds: what is quadratic takes minutes."""
    text = LONG[name] * (100_000 // len(LONG[name]))
    for kind, function in MEASURES.items():
        began = time.process_time()
        assert math.isfinite(function([], text)), kind
        # VADER reads an emoji as three words, and no more than 5,000 characters.
        assert time.process_time() - began < (6 if (kind, name) == ("sentiment", "emoji") else 2), kind


def test_a_pattern_that_backtracks_is_given_up_and_named() -> None:
    function = make_measure(SETTINGS.validate_python({"kind": "pattern", "pattern": r"(a|aa)+$"}))
    began = time.monotonic()
    with pytest.raises(MeasureFailed, match=r"The pattern '\(a\|aa\)\+\$' was given up after 1 s .* Write it without"):
        function([], "a" * 5_000 + "b")
    assert time.monotonic() - began < 20
