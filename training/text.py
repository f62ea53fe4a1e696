"""Which characters Concord stores: one rule for every text that comes from outside, on every database.

Two kinds of characters cannot be stored everywhere: NUL (U+0000), which PostgreSQL refuses, and lone surrogates (half
an emoji, as JSON's `\\ud83d` alone gives), which no UTF-8 can hold. What a person can correct is refused with a reason:
a row of a file is a bad row, a field of a form gets a message. In the output of a model or a judge's server each such
character becomes U+FFFD. Torch-free.
"""

from __future__ import annotations

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def unstorable_reason(text: str) -> str | None:
    """Why the text cannot be stored as it is, as the end of a sentence ("the prompt ..."), or None if it can.

    >>> unstorable_reason("Well done \\ud83d")
    'holds half of a character (U+D83D at character 11), as a text does that was cut inside an emoji'
    """
    match = _UNSTORABLE.search(text)
    if match is None:
        return None
    place = match.start() + 1
    if match[0] == "\x00":
        return f"holds a NUL character (U+0000 at character {place})"
    return (f"holds half of a character (U+{ord(match[0]):04X} at character {place}), as a text does that was cut "
            "inside an emoji")


def storable(text: str) -> str:
    """The text with every character that cannot be stored replaced by U+FFFD; the same object where there is none."""
    return _UNSTORABLE.sub(REPLACEMENT, text)
