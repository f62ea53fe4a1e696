"""One rule for the characters of every text: NUL and lone surrogates are refused or replaced, all else stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.text import storable, unstorable_reason


@pytest.mark.parametrize("text", ["", "plain", "tab\tand\nline", "\x01\x1f\x7f", "é 漢", "\ufffd", "\uffff", "👩‍👩‍👧"])
def test_text_that_every_database_holds_stays_as_it_is(text: str) -> None:
    assert unstorable_reason(text) is None
    assert storable(text) is text


@pytest.mark.parametrize(("text", "words", "stored"), [
    ("a\x00b", "NUL character (U+0000 at character 2)", "a\ufffdb"),
    ("Well done \ud83d", "half of a character (U+D83D at character 11)", "Well done \ufffd"),
    ("\udc00x", "half of a character (U+DC00 at character 1)", "\ufffdx"),
    ("\ud83d\ude00", "U+D83D at character 1", "\ufffd\ufffd"),
])
def test_what_cannot_be_stored_is_named_with_its_place(text: str, words: str, stored: str) -> None:
    assert words in (unstorable_reason(text) or "")
    assert storable(text) == stored


@given(st.text(st.characters(exclude_categories=())))
def test_what_was_made_storable_has_no_reason_left_and_is_utf_8(text: str) -> None:
    stored = storable(text)
    assert unstorable_reason(stored) is None
    assert "\x00" not in stored and len(stored) == len(text)
    stored.encode()
