"""A judge behind any OpenAI-compatible endpoint: one token, its log-probabilities, both orders, many at a time.

Where a server gives no log-probabilities, answers are sampled and counted instead. Transient errors (429, 5xx,
timeouts, broken connections, garbled replies) are retried with exponential backoff; permanent ones (401, 403, 404) end
the stage at once. A refusal that names no parameter is retried without the optional ones before it counts. A label that
cannot be had is an error with its reason, never a guess.

It speaks the protocol over aiohttp: the openai SDK spends ten times the CPU on a question of one token. The connection
test asks through this class; the Batch API uses the SDK, with the same `server_capabilities` and `protocol`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import aiohttp
import orjson

from training.config import JudgeSettings
from training.errors import JudgeUnavailable, StopRequested, TrainingError
from training.judges import sdk
from training.judges.addresses import AddressGuard, guarded_connector
from training.judges.exchange import RawReply, Refused, Reply, TransientError
from training.judges.judge import Answer, Listener, PairQuestion, PairRequest, Verdict, both_orders, collect
from training.judges.limits import read_limits, retry_after, wait_named_in
from training.judges.protocol import Reading, error_message, is_retryable, read_reply, safe, scrubbed
from training.judges.rate_controller import LONGEST_PAUSE, LONGEST_WAIT, LOOK, RateController
from training.judges.refusals import no_logprobs, refusal_of_all, wait_in_words
from training.judges.server_capabilities import ServerCapabilities, optional_in, stripped
from training.judges.spending import Spending, allows, budget_spent

ATTEMPTS = 12  # per request; the circuit breaker notices a server that is down before that
GIVE_UP_AFTER = 10  # requests refused in a row before the first answer: the settings are wrong, not the pair
EVIDENCE = 2  # requests that must succeed without a parameter, and not with it, before it is given up
MOST_TRIALS = 2  # trials without parameters that may fail as well
LARGEST_REPLY = 8 << 20  # bytes; a chat model's reply has some thousands
CHARS_PER_TOKEN = 4  # roughly, to charge a question to the rate of tokens


class OpenAIJudge:
    """A Judge that asks `settings.model` at `settings.base_url`."""

    def __init__(self, settings: JudgeSettings, api_key: str = "", guard: AddressGuard | None = None,
                 spent: Spending | None = None, attempts: int = 0, patience: float = float("inf")) -> None:
        """
        Args:
            attempts: per request; 0 for `ATTEMPTS`. patience: seconds; a longer Retry-After raises JudgeUnavailable.
        """
        self.settings = settings
        self._attempts, self._patience = attempts, patience
        self._url = f"{sdk.base_url(settings)}/chat/completions"
        self._key = api_key
        self._guard = guard or AddressGuard.of_process()
        self._spent = spent  # None: this judge keeps no budget
        self._capabilities = ServerCapabilities.of(settings)
        self._accepted: set[frozenset[str]] = set()  # optional parameters of requests that were answered
        self._evidence: dict[tuple[str, ...], int] = {}  # requests that succeeded once these were left out
        self._texts_asked = self._chars_asked = 0  # the average question, before one is answered
        self._trials = 0
        self._trial = asyncio.Lock()  # a new one for each loop that the judge is asked from
        self._listener: Listener | None = None
        self._reported_wait_until = 0.0  # the wait that was reported last
        self.last: Reply | None = None
        self.pace = RateController(settings)
        self._refusals = self._consecutive_refusals = 0
        self._session: aiohttp.ClientSession | None = None
        self._stopping: list[BaseException] = []

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`: as many workers as may be in flight, each with one request at a time."""
        sdk.check_key(self.settings, self._key)
        self._guard.check_url(self._url)
        self.pace = RateController(self.settings)
        self.pace.budget_allows = self._budget_allows
        self._stopping, self._listener, self._trial = [], listener, asyncio.Lock()
        workers: set[asyncio.Task[None]] = set()
        exhausted = asyncio.Event()

        async def work() -> None:
            for request in requests:
                try:
                    await self._judge(request, listener)
                except (StopRequested, TrainingError) as stop:
                    self._stop(stop)
                if self._stopping:
                    return
            exhausted.set()

        listener.tick(self.pace)  # it may be paused from the start
        async with self._open() as self._session:
            ticker = asyncio.create_task(self._tick(listener))
            try:
                while workers or not (exhausted.is_set() or self._stopping):
                    while len(workers) < self.pace.ceiling and not (exhausted.is_set() or self._stopping):
                        workers.add(asyncio.create_task(work()))
                        await asyncio.sleep(0)  # let it take its request: with few requests, few workers
                    done, workers = await asyncio.wait(workers, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                    for worker in done:
                        worker.result()
            finally:
                for task in (ticker, *workers):
                    task.cancel()
                await asyncio.gather(ticker, *workers, return_exceptions=True)
        if self._stopping:
            raise self._stopping[0]

    async def answer_one(self, text: str) -> Answer:
        """The answer to one question, asked as a run asks it; `last` is then its last reply.

        Raises:
            JudgeUnavailable: as `stream`.
        """
        sdk.check_key(self.settings, self._key)
        self._guard.check_url(self._url)
        async with self._open() as self._session:
            return await self._ask(text)

    async def _judge(self, request: PairRequest, listener: Listener) -> None:
        listener.judged(request, await both_orders(self._ask, request, self.settings, listener))

    async def _tick(self, listener: Listener) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                listener.tick(self.pace)
            except Exception as stop:  # any error: the ticker ends here, and must not end silently
                self._stop(stop)

    def _stop(self, reason: BaseException) -> None:
        self._stopping.append(reason)
        self.pace.stop(reason)

    def _budget_allows(self, in_flight: int) -> bool:
        """Whether the budget allows one more request; raises BudgetSpent if it does not and nothing is in flight."""
        waiting = in_flight + 1
        chars = self._chars_asked * waiting // max(1, self._texts_asked)
        if self._spent is None or allows(self.pace.settings, self._spent, waiting, chars):
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
        answers_drawn, model, reason = 0, "", ""
        try:
            while True:
                sent = await self._request(text, self.settings.samples - answers_drawn, cost)
                body, reading = sent.body, sent.reading
                model = reading.model or model
                if reading.probability is not None:
                    self._capabilities.answered = True
                    return self._answer(reading.probability, "", cost, model)
                if not self._accepts(reading, body):
                    continue
                if self._capabilities.required and "top_logprobs" in body and not reading.top:
                    raise no_logprobs(self.settings)
                if not reading.letters and ("top_logprobs" in body or reading.thinking and reading.cut):
                    return self._answer(None, reading.reason, cost, model)  # more answers would be no better
                letters += reading.letters
                reason = reason or reading.reason
                answers_drawn += max(1, reading.answer_count)
                if answers_drawn >= self.settings.samples or (reading.top and "top_logprobs" in body):
                    break
        except Refused as refusal:
            reason = str(refusal)
        if not letters:
            return self._answer(None, reason or "empty: the reply holds no answer", cost, model)
        return self._answer(letters.count("A") / len(letters), "", cost, model)

    def _answer(self, probability: float | None, reason: str, cost: Spending, model: str) -> Answer:
        return Answer(probability, reason, cost.tokens_in, cost.tokens_out, cost.calls, cost.chars, model)

    async def _request(self, text: str, draws: int, cost: Spending) -> Reply:
        """One request until it is answered. Raises Refused for this one, JudgeUnavailable for all of them."""
        attempt = 0
        while True:
            try:
                return await self._once(text, draws, cost)
            except TransientError as passing:
                if passing.wait is not None and passing.wait > LONGEST_PAUSE:
                    continue  # the rate controller waits; obeying Retry-After is no failure of the request
                attempt += 1
                if attempt >= (self._attempts or ATTEMPTS):
                    raise self._one_refused(str(passing)) from None
                growing = random.uniform(0, min(LONGEST_PAUSE, 0.25 * 2**attempt))
                await self.pace.rest(growing if passing.wait is None else passing.wait)

    async def _once(self, text: str, draws: int, cost: Spending) -> Reply:
        """One request, retried with other parameters as long as the server teaches us any."""
        while True:
            body = self._capabilities.body(self.settings, text, draws)
            message = await self._send(body, text)
            if message.status == 200:
                return self._record_answer(body, message, text, cost)
            status, words = message.status, error_message(message.data)
            if self._learn_from_refusal(status, words, body) or await self._succeeds_without(status, body, text, cost):
                continue
            raise self._failure(status, words, message.wait, message.sent_at)

    async def _send(self, body: dict[str, object], text: str) -> RawReply:
        """Send a request when the rate controller allows it. Raises TransientError."""
        self._texts_asked += 1
        self._chars_asked += len(text)
        await self.pace.enter(len(text) // CHARS_PER_TOKEN)
        sent_at = time.monotonic()
        try:
            return await self._post(orjson.dumps(body), sent_at)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unanswered(error, sent_at) from None
        finally:
            self.pace.leave()

    async def _post(self, data: bytes, sent_at: float) -> RawReply:
        assert self._session is not None
        async with self._session.post(self._url, data=data, allow_redirects=False) as reply:
            parts, size = [], 0
            async for part in reply.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > LARGEST_REPLY:
                    raise aiohttp.ClientPayloadError(f"the reply has more than {LARGEST_REPLY >> 20} MB")
            body = scrubbed(b"".join(parts), self._key)
            wait = reply.headers.get("Retry-After", "")
            return RawReply(sent_at, reply.status, read_limits(reply.headers), wait, body)

    # What the server takes --------------------------------------------------------------------------------------------

    def _learn_from_refusal(self, status: int, message: str, body: dict[str, object]) -> bool:
        return self._learn_and_report(lambda: self._capabilities.learn(status, message, body))

    def _accepts(self, reading: Reading, body: dict[str, object]) -> bool:
        return self._learn_and_report(lambda: self._capabilities.accepts(reading, body))

    def _learn_and_report(self, lesson: Callable[[], bool]) -> bool:
        """Run `lesson` and report what it changed, where people should know."""
        top, thinks = self._capabilities.top, self._capabilities.thinks
        result = lesson()
        if top is not None and self._capabilities.top is None:
            self._notice("The judge gives no log-probabilities: "
                         f"{self.settings.samples} answers are sampled per order and counted.", warn=False)
        if self._capabilities.thinks and not thinks and not self.settings.reasoning:
            self._notice("The judge thinks before its letter: its answers may now be as long as that takes. With "
                         "'judge.reasoning' on it is asked to think, and the estimate counts it.")
        return result

    async def _succeeds_without(self, status: int, body: dict[str, object], text: str, cost: Spending) -> bool:
        """Whether to retry a refusal that names no parameter: with the capabilities known by now, or as it was, because
        leaving a parameter out has helped and may have been chance."""
        if status in (401, 408, 429) or status < 400 or optional_in(body) in self._accepted or not optional_in(body):
            return False
        async with self._trial:
            if self._stale(body, text):
                return True
            if self._trials >= MOST_TRIALS:
                return False
            for names in self._capabilities.without(body, status):
                shorter = stripped(body, names)
                message = await self._send(shorter, text)
                if message.status == 200 and not read_reply(message.data).fault:
                    self._record_answer(shorter, message, text, cost)
                    self._evidence[names] = self._evidence.get(names, 0) + 1
                    if self._evidence[names] >= EVIDENCE:
                        self._learn_and_report(partial(self._capabilities.leave_out, names))
                    return True
                if message.status in (401, 429):
                    break
            self._trials += 1
            return False

    def _stale(self, body: dict[str, object], text: str) -> bool:
        """Whether the request would have other parameters by now."""
        return bool(optional_in(body) - optional_in(self._capabilities.body(self.settings, text, 1)))

    def _record_answer(self, body: dict[str, object], message: RawReply, text: str, cost: Spending) -> Reply:
        """Read an answered request and record its cost."""
        reading = read_reply(message.data, self.settings.reasoning)
        if reading.fault:
            self._note_failure(reading.reason, message.sent_at)
            raise TransientError(safe(reading.reason, self._key))
        for spending in (cost, self._spent):
            if spending is not None:
                spending.add(1, reading.tokens_in, reading.tokens_out, len(text))
        self.pace.on_success(message.limits)
        self._consecutive_refusals = 0
        self._accepted.add(optional_in(body))
        if reading.reason:
            reading = reading._replace(reason=safe(reading.reason, self._key))
        self.last = Reply(body, reading, message.limits, time.monotonic() - message.sent_at)
        return self.last

    # Failures ----------------------------------------------------------------------------------------------------

    def _unanswered(self, error: BaseException, sent_at: float) -> Exception:
        problem = "did not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
        self._note_failure(problem, sent_at)
        if isinstance(error, TimeoutError):
            self.pace.on_rate_limited(None)
        return TransientError(f"unavailable: the server {problem}")

    def _failure(self, status: int, message: str, wait: str, sent_at: float) -> Exception:
        """The error of a status: transient, for this request, or for all requests."""
        refused = refusal_of_all(status, safe(message, self._key), self.settings)
        if refused and not (status == 403 and self.pace.answered and self._consecutive_refusals < GIVE_UP_AFTER):
            return refused  # a 403 among answers concerns one pair: the moderation of some servers
        reason = safe(f"HTTP {status}: {message}", self._key)
        if is_retryable(status):
            retry_in = retry_after(wait, time.time()) if wait else wait_named_in(message)
            if retry_in is not None and retry_in > min(LONGEST_PAUSE, self._patience):
                self._note_wait(retry_in, reason)
            if status in (429, 503):
                self.pace.on_rate_limited(retry_in)
            if status != 429:  # a server that limits rates is not down
                self._note_failure(reason, sent_at)
            return TransientError(reason, retry_in)
        return self._one_refused(reason)

    def _note_failure(self, reason: str, sent_at: float) -> None:
        if not self.pace.on_failure(sent_at):
            return
        where = sdk.base_url(self.settings)
        if self.pace.answered:
            last = safe(reason, self._key)
            raise JudgeUnavailable(f"The judge's server {where} stopped answering; the last error: {last}.",
                                   "When it is back, resume: no label is asked for again.")
        raise JudgeUnavailable(
            f"The judge's server {where} answered none of {self.pace.failures} requests; the last: "
            f"{safe(reason, self._key)}.", "Check that it runs and that 'judge.base_url' is right, then resume.")

    def _note_wait(self, seconds: float, reason: str) -> None:
        """Report a long wait, which would look like a hang."""
        wait = wait_in_words(seconds, time.time())
        if seconds > self._patience:
            raise JudgeUnavailable(f"The judge's server asks to wait {wait}: {reason}.", "Ask again then.")
        until = time.time() + seconds
        if abs(until - self._reported_wait_until) > LONGEST_PAUSE:
            self._reported_wait_until = until
            again = f"{min(seconds, LONGEST_WAIT) / 60:.0f} min"
            self._notice(f"The judge's server asks to wait {wait}: {reason}. It is asked again in {again}; what was "
                         "bought is kept, should you stop the run.")

    def _notice(self, text: str, warn: bool = True) -> None:
        if self._listener is not None:
            self._listener.notice(text, warn)

    def _one_refused(self, reason: str) -> Exception:
        self._refusals += 1
        self._consecutive_refusals += 1
        if not self.pace.answered and self._refusals >= GIVE_UP_AFTER:
            return JudgeUnavailable(f"The judge's server {sdk.base_url(self.settings)} answered none of "
                                    f"{self._refusals} requests; the last: {reason}.",
                                    "Read what it says, look at the server's own log, then resume.")
        return Refused(reason)
