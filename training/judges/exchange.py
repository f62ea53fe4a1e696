"""One request to a judge's server and what came of it: its message, its answer, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

from training.judges.limits import RateLimits
from training.judges.protocol import Reading


class Refused(Exception):
    """The server will not answer this one request; the reason goes into the label's `error`."""


class TransientError(Exception):
    """The server did not answer this time. `wait`: the seconds that it asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RawReply(NamedTuple):
    """What came back, whatever it is: status, limits, Retry-After and body; `sent_at` is when it was asked for."""

    sent_at: float
    status: int
    limits: RateLimits | None
    wait: str
    data: bytes


class Reply(NamedTuple):
    """An answered request: the body that was sent, what came back, the limits it told, and the seconds it took."""

    body: dict[str, object]
    reading: Reading
    limits: RateLimits | None = None
    latency: float = 0.0
