"""The messages of a run's live socket, and of the channel layer behind it: a type for each, shared by both ends.

The page's end is `static/js/messages.js`, which `python -m tests.wire` makes from this file. The first message on a
socket is a `Hello`; a page whose script speaks another protocol says so and asks to be reloaded. Raise `PROTOCOL` when
a field goes or means something else; a script passes over messages and fields that it does not know.
A `NamedTuple` travels as an array, for there are many of it; everything else as an object.
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
    """A step has samples that it had not; `key` is the newest one's."""

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
    """What changes of a run."""

    status: str
    sentence: str
    progress: float


class StageState(TypedDict):
    """What changes often of a stage."""

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
    """What is new; a part in which nothing is new is left out."""

    type: Literal["delta"]
    run: NotRequired[RunState]
    stages: NotRequired[list[StageState]]
    points: NotRequired[list[Points]]
    log: NotRequired[list[Line]]
    samples: NotRequired[list[NewSample]]


class Resync(TypedDict):
    """What the page has is void or too old: a snapshot is needed."""

    type: Literal["resync"]


Message: TypeAlias = Hello | Delta | Resync


class Subscribe(TypedDict):
    """What a page says: how far it has read each stage."""

    since: dict[int, Place]


class RunChanged(TypedDict):
    """A notification on the channel layer. It says that there is something to read, not what, so it has no version."""

    type: Literal["run.changed"]


RUN_CHANGED: Final[RunChanged] = {"type": "run.changed"}
HELLO: Final[Hello] = {"type": "hello", "protocol": PROTOCOL}


def encode(message: Message) -> str:
    return json.dumps(message, separators=(",", ":"), allow_nan=False)
