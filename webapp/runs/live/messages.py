"""The messages of a run's live socket, and of the channel layer behind it: a type for each, shared by both ends.

The page's end is `static/js/messages.js`, which `python -m tests.wire` makes from this file. The first message on a
socket is a `Hello`; a page whose script has another protocol version asks the user to reload. Raise `PROTOCOL` when a
field is removed or changes its meaning; a script ignores messages and fields that it does not know.
A `NamedTuple`, of which there are many, is sent as an array; everything else as an object.
"""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple, NotRequired, TypeAlias, TypedDict

PROTOCOL = 1


class Points(NamedTuple):
    """New points of one series; `before` is the step of the point before them, None if they are its first."""

    stage: int
    tag: str
    before: int | None
    steps: list[int]
    values: list[float | None]
    times: list[float]


class Line(NamedTuple):
    """A line of the log; `step` is a warning's."""

    stage: int
    seq: int
    time: float
    level: str
    message: str
    code: str
    step: int | None


class NewSample(NamedTuple):
    """A step has new samples; `key` is the key of the newest."""

    stage: int
    step: int
    key: int


class Place(NamedTuple):
    """How far a page has read a stage: the rewinds it knows of, its last line, the last step of each tag, its newest
    sample."""

    rewinds: int
    log: int
    tags: dict[str, int]
    sample: int


class RunState(TypedDict):
    """The values of a run that change."""

    status: str
    sentence: str
    progress: float
    state: str  # as the badge says it: "queued, 2nd"
    eta: str  # of the whole run; empty where nothing is known
    live: bool  # whether anything may still change by itself


class StageState(TypedDict):
    """The values of a stage that change often."""

    id: int
    status: str
    text: str
    fraction: float
    rewinds: int
    attempt: int


class Hello(TypedDict):
    """The first message on a socket."""

    type: Literal["hello"]
    protocol: int


class Delta(TypedDict):
    """New data; parts without any are left out."""

    type: Literal["delta"]
    run: NotRequired[RunState]
    stages: NotRequired[list[StageState]]
    points: NotRequired[list[Points]]
    log: NotRequired[list[Line]]
    samples: NotRequired[list[NewSample]]


class Resync(TypedDict):
    """The page's data is invalid or too old: it needs a snapshot."""

    type: Literal["resync"]


Message: TypeAlias = Hello | Delta | Resync


class Subscribe(TypedDict):
    """A page's position: how far it has read each stage."""

    since: dict[int, Place]


class RunChanged(TypedDict):
    """A notification on the channel layer. It says that there is something to read, not what, so it has no version."""

    type: Literal["run.changed"]


RUN_CHANGED: Final[RunChanged] = {"type": "run.changed"}
HELLO: Final[Hello] = {"type": "hello", "protocol": PROTOCOL}


def encode(message: Message) -> str:
    return json.dumps(message, separators=(",", ":"), allow_nan=False)
