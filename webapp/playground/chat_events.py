"""The events of a chat, from the inference worker to the page: a type for each kind, shared by both ends.

`Started` says which protocol the worker speaks; one that says nothing speaks the first. Raise `PROTOCOL` when a field
goes or means something else. A page passes over kinds and fields that it does not know.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypeAlias, TypedDict

PROTOCOL = 1


class Started(TypedDict):
    """The worker has taken the chat up."""

    kind: Literal["started"]
    protocol: NotRequired[int]


class Waiting(TypedDict):
    """The worker, or the page's end where no worker has answered yet, waits for another chat to end."""

    kind: Literal["waiting"]


class Loading(TypedDict):
    """The policy of a side is being loaded."""

    kind: Literal["loading"]
    side: int


class Piece(TypedDict):
    """The answer of a side goes on with this text."""

    kind: Literal["piece"]
    side: int
    text: str


class Answered(TypedDict):
    """The whole answer of a side, as it is scored; `ended` says that it was not cut at the limit."""

    kind: Literal["answer"]
    side: int
    text: str
    tokens: int
    seconds: float
    ended: bool


class PrincipleScore(TypedDict):
    """A principle's scores of both answers, standardised, and their parts of the totals."""

    name: str
    scores: list[float]
    parts: list[float]


class AnswersScored(TypedDict):
    """What both answers are worth; the parts add up to the totals."""

    kind: Literal["rewards"]
    principles: list[PrincipleScore]
    totals: list[float]


class Failed(TypedDict):
    """Nothing more will come: what happened, and what to do."""

    kind: Literal["failed"]
    cause: str
    remedy: str


class Finished(TypedDict):
    """Nothing more will come."""

    kind: Literal["finished"]
    cancelled: bool


ChatEvent: TypeAlias = Started | Waiting | Loading | Piece | Answered | AnswersScored | Failed | Finished
LAST = {"failed", "finished"}
