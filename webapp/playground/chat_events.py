"""The events of a chat, from the inference worker to the page: a type for each kind, shared by both ends.

`Started` names the worker's protocol version; without it, the version is 1. Raise `PROTOCOL` when a field is removed or
changes its meaning. A page ignores kinds and fields that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NotRequired, TypeAlias, TypedDict

PROTOCOL = 1


class Started(TypedDict):
    """The worker has started the chat."""

    kind: Literal["started"]
    protocol: NotRequired[int]


class Waiting(TypedDict):
    """The chat waits for another one to end; sent by the worker or, before one has answered, by the page's side.
    `ahead`: how many chats have to end before it begins."""

    kind: Literal["waiting"]
    ahead: NotRequired[int]


class Loading(TypedDict):
    """The policy of a side is being loaded."""

    kind: Literal["loading"]
    side: int


class Piece(TypedDict):
    """The next piece of text of one side's answer."""

    kind: Literal["piece"]
    side: int
    text: str


class Answered(TypedDict):
    """The complete answer of one side, as it is scored; `ended`: it was not cut at the length limit."""

    kind: Literal["answer"]
    side: int
    text: str
    tokens: int
    seconds: float
    ended: bool


class PrincipleScore(TypedDict):
    """A principle's scores of all answers, standardised, and their parts of the totals. None: its measure has no
    number for them, and they count as the mean."""

    name: str
    scores: Sequence[float | None]
    parts: list[float]


class AnswersScored(TypedDict):
    """The rewards of all answers; the parts add up to the totals."""

    kind: Literal["rewards"]
    principles: list[PrincipleScore]
    totals: list[float]


class Failed(TypedDict):
    """The chat failed; the last event, with cause and remedy."""

    kind: Literal["failed"]
    cause: str
    remedy: str


class Finished(TypedDict):
    """The chat is complete; the last event."""

    kind: Literal["finished"]
    cancelled: bool


ChatEvent: TypeAlias = Started | Waiting | Loading | Piece | Answered | AnswersScored | Failed | Finished
LAST = {"failed", "finished"}


def letter(side: int) -> str:
    """What a side is called on the page: A for 0, B for 1, ..."""
    return chr(ord("A") + side)
