"""What is wrong with a measure's settings is refused by field, with the way out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from training.config import field_errors
from training.config.measure import Measure

SETTINGS: TypeAdapter[Any] = TypeAdapter(Measure)


@pytest.mark.parametrize(("chosen", "words"), [
    ({"kind": "wrods"}, "has the kind 'wrods', which is none; choose one of 'words'"),
    ({"toward": "low"}, "needs its 'kind'"),
    ({"kind": "words", "toward": "up"}, "must be one of 'high' or 'low'"),
    ({"kind": "words", "softness": -1}, "must be at least 0"),
    ({"kind": "words", "colour": 1}, "is not a setting"),
    ({"kind": "pattern", "pattern": "(a"}, "is no regular expression (missing ) at position 2)"),
    ({"kind": "pattern", "pattern": "a" * 501}, "at most 500 characters"),
    ({"kind": "phrases", "phrases": []}, "needs at least 1"),
    ({"kind": "phrases", "phrases": ["a"] * 101}, "may have 100 at most"),
    ({"kind": "phrases", "phrases": ["a" * 201]}, "at most 200 characters"),
    ({"kind": "similarity", "reference": "a" * 10_001}, "at most 10000 characters"),
    ({"kind": "number", "answer": float("nan")}, "neither infinite nor NaN"),
    ({"kind": "number", "answer": True}, "must be a number"),
])
def test_wrong_settings_are_refused(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SETTINGS.validate_python(chosen)
    assert words in "; ".join(message for _, message in field_errors(refused.value))
