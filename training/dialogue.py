"""Dialogues as lists of messages, and as the "Human: / Assistant:" text of hh-rlhf.

A message is `{"role": "user" | "assistant" | "system", "content": str}`. A prompt is a list of messages that ends
with the user's; a response is a plain string.
"""

from __future__ import annotations

import re
from typing import Literal, TypedDict

Role = Literal["user", "assistant", "system"]

_MARKERS = ("Human:", "Assistant:")
STOP_STRINGS = tuple(f"\n{marker}" for marker in _MARKERS)  # what ends a reply
_NEXT_TURN = re.compile(r"^(?:Human|Assistant):", re.MULTILINE)
_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKER: dict[str, str] = {"user": "Human", "assistant": "Assistant", "system": "System"}


class Message(TypedDict):
    role: Role
    content: str


Dialogue = list[Message]


def parse_hh(text: str) -> Dialogue:
    """Turn `"\\n\\nHuman: ...\\n\\nAssistant: ..."` into messages; text without a marker is one user message."""
    parts = _TURN.split(text)
    messages: Dialogue = []
    if parts[0].strip():
        messages.append({"role": "user", "content": parts[0].strip()})
    for speaker, content in zip(parts[1::2], parts[2::2], strict=True):
        role: Role = "user" if speaker == "Human" else "assistant"
        messages.append({"role": role, "content": content.strip()})
    return messages


def shown_prompt(prompt: Dialogue) -> str:
    """A prompt as pages show it: of a single turn its words alone."""
    turns = [message for message in prompt if message["role"] != "system"]
    return turns[0]["content"] if len(turns) == 1 else as_text(prompt).strip()


def as_text(dialogue: Dialogue) -> str:
    """The hh-rlhf text of a dialogue, without the final "Assistant:" marker."""
    return "".join(f"\n\n{_SPEAKER[m['role']]}: {m['content']}" for m in dialogue)


def generation_prompt(dialogue: Dialogue) -> str:
    """The text after which a model without a chat template writes the next reply (which then starts with a space)."""
    return as_text(dialogue) + "\n\nAssistant:"


def last_user_message(dialogue: Dialogue) -> str:
    """What the human said last: what the rules of the demo world look at; "" if there is no user message."""
    return next((m["content"] for m in reversed(dialogue) if m["role"] == "user"), "")


def cut_at_stop(text: str) -> str:
    """A whole reply up to where another turn begins: a reply never speaks for the human, but may speak of one."""
    start = _NEXT_TURN.search(text.lstrip())
    return (text.lstrip()[: start.start()] if start else text).strip()


def reply_so_far(text: str) -> tuple[str, bool]:
    """The part of a growing reply that later text cannot change, and whether another turn has begun.

    Held back are incomplete characters, trailing spaces, and a line that may become the beginning of a turn.
    """
    if _NEXT_TURN.search(text.lstrip()):
        return cut_at_stop(text), True
    text = text.lstrip()
    line = text[text.rfind("\n") + 1:]
    if line and any(marker.startswith(line) for marker in _MARKERS):
        text = text[: len(text) - len(line)]
    return text.removesuffix("\ufffd").strip(), False
