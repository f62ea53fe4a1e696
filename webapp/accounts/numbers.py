"""Parses numbers from addresses and forms within the range of the database, without raising."""

from __future__ import annotations

_LARGEST = 2**63 - 1  # what a row's key may be on every database


def row_key(text: object) -> int | None:
    """A row's key from its digits; None for any other text, however long.

    >>> row_key("17"), row_key("-1"), row_key("1" * 5000), row_key("①"), row_key(None)
    (17, None, None, None, None)
    """
    if not isinstance(text, str) or not text.isascii() or not text.isdecimal() or len(text) > 19:
        return None
    number = int(text)
    return number if number <= _LARGEST else None
