"""How fast a server is asked: a window of requests in flight, rates per minute, and a circuit breaker.

The window follows the server as TCP does (additive increase, multiplicative decrease): it grows by one per window of
answers and halves when the server limits us. Token buckets hold requests and tokens to a rate, the one that was set or
the one in the server's headers. The circuit breaker opens after some failures in a row: then only one probe at a time
is sent, with exponential backoff, until one is answered or the server is given up.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from training.config import JudgeSettings
from training.judges.limits import RateLimits

OPEN_AFTER = 8  # failures in a row, once the server has answered
OPEN_AT_FIRST = 3  # as long as it never has
PROBES_AT_FIRST = 4  # probes of a server that never answered, before it is given up
PATIENCE = 600.0  # seconds until a server that did answer is given up
LONGEST_PAUSE = 60.0  # seconds between two probes, and between two looks at limits that a server's headers name
LONGEST_WAIT = 600.0  # the longest Retry-After that is obeyed, in seconds
SETTLE = 1.0  # seconds in which the window halves at most once
LOOK = 0.25  # seconds between two checks of what may change from outside


class TokenBucket:
    """A token bucket: so many units per minute, and never more. It holds one second's units, and may be overdrawn."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 61
        self._most = max(1.0, self._rate)
        self._level, self._then = self._most, now

    def wait(self, now: float) -> float:
        """Seconds until something may be taken; 0 for now."""
        self._level = min(self._most, self._level + (now - self._then) * self._rate)
        self._then = now
        return 0.0 if self._level >= 1 - 1e-9 else (1 - self._level) / self._rate

    def take(self, units: float) -> None:
        self._level -= units


class RateController:
    """Controls the rate of requests: `enter` before a request, `leave` after it, then report its outcome.

    Attributes:
        in_flight: requests between the two. window: how many are allowed now.
        paused: a person has paused it. answered: requests that were answered. failures: failures in a row.
    """

    def __init__(self, settings: JudgeSettings, clock: Callable[[], float] = time.monotonic,
                 draw: Callable[[], float] = random.random) -> None:
        self._clock, self._draw = clock, draw
        self.in_flight = self.answered = self.failures = 0
        self.paused = False
        self.budget_allows: Callable[[int], bool] = lambda in_flight: True  # whether the budget allows one more request
        self._changed = asyncio.Event()
        self._line = asyncio.Lock()
        self._held_until = self._halved_at = -1e9
        self._opened_at: float | None = None
        self._probes = 0
        self._requests: TokenBucket | None = None
        self._tokens: TokenBucket | None = None
        self._stopped: BaseException | None = None
        self.apply(settings)
        self.window = float(self.ceiling)

    def apply(self, settings: JudgeSettings) -> None:
        """Use the concurrency and rates of these settings from now on; the budget is read from them too."""
        self.settings = settings
        self.ceiling = settings.concurrency
        self.window = min(getattr(self, "window", 1e9), float(self.ceiling))
        self._set_requests, self._set_tokens = settings.requests_per_minute, settings.tokens_per_minute
        self._requests = self._bucket(self._requests, self._set_requests)
        self._tokens = self._bucket(self._tokens, self._set_tokens)
        self._changed.set()

    def stop(self, reason: BaseException) -> None:
        """Raise `reason` in all calls that wait, now or later."""
        self._stopped = self._stopped or reason
        self._changed.set()

    async def enter(self, tokens: int) -> None:
        """Wait until one more request may be sent; `tokens` is its approximate cost."""
        async with self._line:
            while (wait := self._wait()) > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(min(wait, LOOK)):
                        await self._changed.wait()
                except TimeoutError:
                    pass
            self.in_flight += 1
            for bucket, units in ((self._requests, 1), (self._tokens, tokens)):
                if bucket:
                    bucket.take(units)

    async def rest(self, seconds: float) -> None:
        """Wait without a place in the window. Raises the reason given to `stop`, at once."""
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            if self._stopped:
                raise self._stopped
            await asyncio.sleep(min(left, LOOK))

    def leave(self) -> None:
        self.in_flight -= 1
        self._changed.set()

    def on_success(self, limits: RateLimits | None = None) -> None:
        """A request was answered; `limits` are those in its headers."""
        self.answered += 1
        self.failures = self._probes = 0
        self._opened_at = None
        if self.window < self.ceiling:
            self.window = min(float(self.ceiling), self.window + 1 / self.window)
        if limits is not None:
            self._obey(limits)

    def on_rate_limited(self, wait: float | None) -> None:
        """The server limits our rate; `wait` is its Retry-After in seconds, if it gave one."""
        now = self._clock()
        if now - self._halved_at >= SETTLE:
            self._halved_at, self.window = now, max(1.0, self.window / 2)
        if wait is not None:
            self._held_until = max(self._held_until, now + min(wait, LONGEST_WAIT))

    def on_failure(self, sent_at: float) -> bool:
        """The server did not answer a request sent at `sent_at`; whether to give up."""
        self.failures += 1
        now = self._clock()
        if self._opened_at is None:
            if self.failures < (OPEN_AFTER if self.answered else OPEN_AT_FIRST):
                return False
            self._opened_at = now
        elif sent_at < self._held_until and self._probes:
            return False  # it was sent before the probe that failed
        self._probes += 1
        if self._probes > PROBES_AT_FIRST and not self.answered or now - self._opened_at > PATIENCE:
            return True
        pause = min(LONGEST_PAUSE, 0.5 * 2 ** (self._probes - 1)) * (0.5 + self._draw() / 2)
        self._held_until = max(self._held_until, now + pause)
        return False

    @property
    def is_open(self) -> bool:
        """Whether the circuit breaker is open: the server is taken to be down, and probed."""
        return self._opened_at is not None

    def _wait(self) -> float:
        """Seconds to wait before one more request, an upper bound; 0 for none. Raises the reason given to `stop`."""
        if self._stopped:
            raise self._stopped
        now = self._clock()
        if self.paused or self.in_flight >= (1 if self.is_open else int(self.window)):
            return LOOK
        if now < self._held_until:
            return self._held_until - now
        if not self.budget_allows(self.in_flight):
            return LOOK
        return max((bucket.wait(now) for bucket in (self._requests, self._tokens) if bucket), default=0.0)

    def _obey(self, limits: RateLimits) -> None:
        now = self._clock()
        for remaining, reset in ((limits.remaining_requests, limits.reset_requests),
                                 (limits.remaining_tokens, limits.reset_tokens)):
            if remaining == 0 and reset:
                self._held_until = max(self._held_until, now + min(reset, LONGEST_PAUSE))
        # A server's limit bounds the rate that was set, and is the rate where none was set.
        if limits.limit_requests:
            self._requests = self._bucket(self._requests, min(self._set_requests or 1 << 62, limits.limit_requests))
        if limits.limit_tokens:
            self._tokens = self._bucket(self._tokens, min(self._set_tokens or 1 << 62, limits.limit_tokens))

    def _bucket(self, before: TokenBucket | None, per_minute: int) -> TokenBucket | None:
        if before is not None and before.per_minute == per_minute:
            return before
        return TokenBucket(per_minute, self._clock()) if per_minute else None
