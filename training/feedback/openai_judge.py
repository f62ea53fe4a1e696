"""A judge behind any OpenAI-compatible endpoint: one token, its log-probabilities, both orders, many at a time.

Where a server gives no log-probabilities, answers are drawn and counted instead. What may pass (429, 5xx, timeouts,
broken connections, replies that are none) is asked again with growing pauses; what will not (401, 403, 404) ends the
stage at once. A label that cannot be had is an error with its reason, never a guess.

It speaks the protocol over aiohttp: the openai SDK spends ten times the CPU on a question of one token. Connection
test and Batch API use the SDK, and `protocol` words and reads the questions of all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import aiohttp
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from training.config import Judge as JudgeSettings
from training.errors import JudgeUnavailable, StopRequested, TrainingError
from training.feedback import sdk
from training.feedback.addresses import AddressGuard, guarded_connector
from training.feedback.judges import Answer, Comparison, Listener, Ticket, Verdict, both_orders, collect
from training.feedback.limits import RateLimits, read_limits, retry_after
from training.feedback.pace import LONGEST_PAUSE, LOOK, Pace
from training.feedback.protocol import Dialect, Reading, may_pass, read_reply, safe, said_by
from training.feedback.spending import Spending, allows, budget_spent

ATTEMPTS = 12  # of one request; a server that is down is found out by the breaker, before
GIVE_UP_AFTER = 10  # requests refused in a row with no answer before: the settings are wrong, not the pair
CHARS_PER_TOKEN = 4  # roughly, for what a question will cost of a minute's tokens

Message = tuple[int, RateLimits | None, str, bytes]  # status, limits, Retry-After, body


class _Refused(Exception):
    """The server will not answer this one request; the reason goes into the label's `error`."""


class _Passing(Exception):
    """The server did not answer this time. `wait`: the seconds that it asks for; `paid`: what the try cost."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _Sent(NamedTuple):
    """An answered request: the body that was sent and what came back."""

    body: dict[str, object]
    reading: Reading


class OpenAIJudge:
    """A Judge that asks `settings.model` at `settings.base_url`."""

    def __init__(self, settings: JudgeSettings, api_key: str = "", guard: AddressGuard | None = None,
                 spent: Spending | None = None) -> None:
        self.settings = settings
        self._url = f"{sdk.base_url(settings)}/chat/completions"
        self._key = api_key
        self._guard = guard or AddressGuard.of_process()
        self._spent = spent  # None: this judge keeps no budget
        self._dialect = Dialect()
        self.pace = Pace(settings)
        self._refusals = 0
        self._session: aiohttp.ClientSession | None = None
        self._stopping: list[BaseException] = []

    async def compare(self, items: Sequence[Comparison],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judges.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, tickets: Iterator[Ticket], listener: Listener) -> None:
        """See `judges.StreamingJudge`: as many workers as may be in flight, each with one ticket at a time."""
        sdk.check_key(self.settings, self._key)
        self._guard.check_url(self._url)
        self.pace = Pace(self.settings)
        self.pace.room = self._room
        self._stopping = []
        workers: set[asyncio.Task[None]] = set()
        exhausted = asyncio.Event()

        async def work() -> None:
            for ticket in tickets:
                try:
                    await self._judge(ticket, listener)
                except (StopRequested, TrainingError) as stop:
                    self._stop(stop)
                if self._stopping:
                    return
            exhausted.set()

        listener.tick(self.pace)  # it may be paused already
        async with self._open() as self._session:
            ticker = asyncio.create_task(self._tick(listener))
            try:
                while workers or not (exhausted.is_set() or self._stopping):
                    while len(workers) < self.pace.ceiling and not (exhausted.is_set() or self._stopping):
                        workers.add(asyncio.create_task(work()))
                        await asyncio.sleep(0)  # let it take its ticket: with few tickets, few workers
                    done, workers = await asyncio.wait(workers, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                    for worker in done:
                        worker.result()
            finally:
                for task in (ticker, *workers):
                    task.cancel()
                await asyncio.gather(ticker, *workers, return_exceptions=True)
        if self._stopping:
            raise self._stopping[0]

    async def _judge(self, ticket: Ticket, listener: Listener) -> None:
        listener.judged(ticket, await both_orders(self._ask, ticket, self.settings, listener))

    async def _tick(self, listener: Listener) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                listener.tick(self.pace)
            except StopRequested as stop:
                self._stop(stop)

    def _stop(self, reason: BaseException) -> None:
        self._stopping.append(reason)
        self.pace.stop(reason)

    def _room(self, in_flight: int) -> bool:
        """Whether the budget has room for one more; raises BudgetSpent when it has none and nothing is under way."""
        if self._spent is None or allows(self.pace.settings, self._spent, in_flight):
            return True
        if not in_flight:
            self._stop(budget_spent(self.pace.settings, self._spent))
            raise self._stopping[-1]
        return False

    def _open(self) -> aiohttp.ClientSession:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key or 'none'}"}
        return aiohttp.ClientSession(
            connector=guarded_connector(self._guard, limit=0, keepalive_timeout=30), trust_env=False, headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=self.settings.timeout))

    # One question ------------------------------------------------------------------------------------------------

    async def _ask(self, text: str) -> Answer:
        """The answer to one question: a probability, or the reason why there is none."""
        cost = Spending()
        letters: list[str] = []
        drawn, model, reason = 0, "", ""
        try:
            while True:
                body, reading = await self._request(text, self.settings.samples - drawn, cost)
                model = reading.model or model
                if reading.probability is not None:
                    return self._answer(reading.probability, "", cost, model)
                if not self._dialect.understood(reading, body):
                    continue
                if "top_logprobs" in body and not reading.letters:
                    return self._answer(None, reading.reason, cost, model)
                letters += reading.letters
                reason = reason or reading.reason
                drawn += max(1, reading.drawn)
                if drawn >= self.settings.samples or (self.settings.reasoning and "top_logprobs" in body):
                    break
        except _Refused as refusal:
            return self._answer(None, str(refusal), cost, model)
        if not letters:
            return self._answer(None, reason or "empty: the reply holds no answer", cost, model)
        return self._answer(letters.count("A") / len(letters), "", cost, model)

    def _answer(self, probability: float | None, reason: str, cost: Spending, model: str) -> Answer:
        return Answer(probability, reason, cost.tokens_in, cost.tokens_out, cost.calls, cost.chars, model)

    async def _request(self, text: str, draws: int, cost: Spending) -> _Sent:
        """One request until it is answered. Raises _Refused for this one, JudgeUnavailable for all of them."""
        try:
            first: BaseException | None = None
            try:
                return await self._once(text, draws, cost)
            except _Passing as passing:
                first = passing
            retrying = AsyncRetrying(stop=stop_after_attempt(ATTEMPTS), wait=_pause, reraise=True,
                                     retry=retry_if_exception_type(_Passing))

            async def again() -> _Sent:
                nonlocal first
                if first is not None:  # tenacity counts the try that was made, and waits for it
                    error, first = first, None
                    raise error
                return await self._once(text, draws, cost)

            return await retrying(again)
        except _Passing as passing:
            raise self._one_refused(str(passing)) from None

    async def _once(self, text: str, draws: int, cost: Spending) -> _Sent:
        """One request, asked in other words as often as the server wants them."""
        while True:
            body = self._dialect.body(self.settings, text, draws)
            await self.pace.enter(len(text) // CHARS_PER_TOKEN)
            sent_at = time.monotonic()
            try:
                status, limits, wait, data = await self._post(orjson.dumps(body))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._unanswered(error, sent_at) from None
            finally:
                self.pace.leave()
            if status == 200:
                return _Sent(body, self._paid(data, limits, text, cost, sent_at))
            message = said_by(data)
            if self._dialect.learn(status, message, body):
                continue
            raise self._failure(status, message, wait, sent_at)

    async def _post(self, data: bytes) -> Message:
        assert self._session is not None
        async with self._session.post(self._url, data=data, allow_redirects=False) as reply:
            body = await reply.read()
            return reply.status, read_limits(reply.headers), reply.headers.get("Retry-After", ""), body

    def _paid(self, data: bytes, limits: RateLimits | None, text: str, cost: Spending, sent_at: float) -> Reading:
        """What an answered request says, and the note of what it cost."""
        reading = read_reply(data, self.settings.reasoning)
        if reading.fault:
            self._note_failure(reading.reason, sent_at)
            raise _Passing(safe(reading.reason, self._key))
        for book in (cost, self._spent):
            if book is not None:
                book.add(1, reading.tokens_in, reading.tokens_out, len(text))
        self.pace.succeeded(limits)
        return reading._replace(reason=safe(reading.reason, self._key)) if reading.reason else reading

    # Failures ----------------------------------------------------------------------------------------------------

    def _unanswered(self, error: BaseException, sent_at: float) -> Exception:
        problem = "did not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
        self._note_failure(problem, sent_at)
        if isinstance(error, TimeoutError):
            self.pace.crowded(None)
        return _Passing(f"unavailable: the server {problem}")

    def _failure(self, status: int, message: str, wait: str, sent_at: float) -> Exception:
        """What a status means: for this try, for this request, or for all of them."""
        where, model = sdk.base_url(self.settings), self.settings.model
        if status in (401, 403):
            return JudgeUnavailable(f"The judge's server {where} refused the key (HTTP {status}).",
                                    "Check the variable named in 'judge.api_key_env' and what the key may do.")
        if status == 404:
            return JudgeUnavailable(f"The judge's server {where} knows no model '{model}' (HTTP 404).",
                                    "Check 'judge.model', and that 'judge.base_url' ends in /v1.")
        if 300 <= status < 400:
            return JudgeUnavailable(f"The judge's server {where} sends its callers elsewhere (HTTP {status}).",
                                    "Give the final address in 'judge.base_url'; redirects are not followed.")
        if "insufficient_quota" in message:
            return JudgeUnavailable(f"The account at {where} has no credit left.", "Add credit, then resume.")
        reason = safe(f"HTTP {status}: {message}", self._key)
        if may_pass(status):
            asked = retry_after(wait, time.time())
            if status in (429, 503):
                self.pace.crowded(asked)
            if status != 429:  # a server that counts is not down
                self._note_failure(reason, sent_at)
            return _Passing(reason, asked)
        return self._one_refused(reason)

    def _note_failure(self, reason: str, sent_at: float) -> None:
        if not self.pace.failed(sent_at):
            return
        where = sdk.base_url(self.settings)
        if self.pace.answered:
            raise JudgeUnavailable(f"The judge's server {where} went away; the last: {safe(reason, self._key)}.",
                                   "When it is back, resume: no label is asked for again.")
        raise JudgeUnavailable(
            f"The judge's server {where} answered none of {self.pace.failures} requests; the last: "
            f"{safe(reason, self._key)}.", "Check that it runs and that 'judge.base_url' is right, then resume.")

    def _one_refused(self, reason: str) -> Exception:
        self._refusals += 1
        if not self.pace.answered and self._refusals >= GIVE_UP_AFTER:
            return JudgeUnavailable(f"The judge's server {sdk.base_url(self.settings)} answered none of "
                                    f"{self._refusals} requests; the last: {reason}.",
                                    "Look at the server's own log, then resume.")
        return _Refused(reason)


_growing = wait_random_exponential(multiplier=0.25, max=LONGEST_PAUSE)


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: what the server asks for in Retry-After, else at random below a doubling bound."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Passing) and error.wait is not None:
        return min(error.wait, LONGEST_PAUSE)
    return _growing(state)
