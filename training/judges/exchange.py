"""One request to a judge's server and what came of it: its message, its answer, or why there is none."""

from __future__ import annotations

from typing import NamedTuple

from training.judges.limits import RateLimits
from training.judges.protocol import Reading


class Refused(Exception):
    """The server refuses this one request for good; the reason goes into the label's `error`."""


class TransientError(Exception):
    """The server did not answer this time: retry. `wait`: its Retry-After in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RawReply(NamedTuple):
    """A reply as received: status, rate limits, Retry-After and body; `sent_at` is when the request was sent."""

    sent_at: float
    status: int
    limits: RateLimits | None
    wait: str
    data: bytes


class Reply(NamedTuple):
    """The reply to a request: the body that was sent, what the answer says, the rate limits, and the latency."""

    body: dict[str, object]
    reading: Reading
    limits: RateLimits | None = None
    latency: float = 0.0
