"""Names on the Hugging Face hub: `name` or `owner/name`, never a folder or file of this machine. Torch-free."""

from __future__ import annotations

import re

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"(?:{_PART}/)?{_PART}")


def is_hub_id(text: str) -> bool:
    """Whether the text is `name` or `owner/name` as the hub allows it. The disk is not looked at.

    >>> [is_hub_id(text) for text in ("Anthropic/hh-rlhf", "squad", "../data", "a/b/c", ".hidden")]
    [True, True, False, False, False]
    """
    return bool(_HUB_ID.fullmatch(text)) and "--" not in text and ".." not in text and not text.endswith(".git")
