"""A judge behind any OpenAI-compatible endpoint: one token, its log-probabilities, both orders.

Where a server gives no log-probabilities, answers are drawn and counted instead. What may pass (429, 5xx, timeouts) is
asked again with growing pauses; what will not (401, 403, 404) ends the stage at once. A label that cannot be had is an
error with its reason, never a guess. Left out: batch APIs, reasoning models that think before the letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from training.config import Judge as JudgeSettings
from training.errors import JudgeUnavailable, StopRequested
from training.feedback.answers import first_is_better, read_answer
from training.feedback.judges import Comparison, Verdict, failed, joined
from training.feedback.prompt import question

OPENAI = "https://api.openai.com/v1"
TIMEOUT = 60.0  # seconds a request
ATTEMPTS = 6
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever Retry-After says
GIVE_UP_AFTER = 10  # failed requests in a row with no success before: the server is broken, not the pair
SAMPLED_TOKENS = 8  # room for "Option B" where answers are read as text


class _Answer(NamedTuple):
    """One order's answer: the probability that the first option is better, or the reason why there is none."""

    probability: float | None
    reason: str
    tokens: int
    model: str


class _Refused(Exception):
    """The server will not answer this one request; the reason goes into the label's `error`."""


class OpenAIJudge:
    """A Judge that asks `settings.model` at `settings.base_url`."""

    def __init__(self, settings: JudgeSettings, api_key: str = "") -> None:
        self._settings = settings
        self._base_url = settings.base_url or OPENAI
        self._key = api_key
        self._top: int | None = 20  # log-probabilities to ask for; None once the server has shown that it gives none
        self._limit_name = "max_tokens"  # newer models of OpenAI want "max_completion_tokens"
        self._failures = 0
        self._successes = 0

    async def compare(self, items: Sequence[Comparison],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judges.Judge`."""
        if not self._key and self._base_url.startswith("https://api.openai.com/"):
            raise JudgeUnavailable("OpenAI's server asks for a key, and none is set.",
                                   "Name its variable in 'judge.api_key_env' and set it where the workers start.")
        verdicts: dict[int, Verdict] = {}
        waiting = iter(enumerate(items))
        stopped: list[StopRequested] = []

        async def work(client: openai.AsyncOpenAI) -> None:
            for index, item in waiting:
                verdicts[index] = verdict = await self._verdict(client, item)
                try:
                    if on_verdict:
                        on_verdict(index, verdict)
                except StopRequested as stop:
                    stopped.append(stop)
                if stopped:
                    return

        async with self._client() as client:
            workers = [asyncio.create_task(work(client)) for _ in range(min(self._settings.concurrency, len(items)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if stopped:
            raise stopped[0]
        return [verdicts[index] for index in range(len(items))]

    def _client(self) -> openai.AsyncOpenAI:
        # Redirects are refused: a server could send the key elsewhere, or into the network the worker stands in.
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=TIMEOUT)
        client = openai.AsyncOpenAI(api_key=self._key or "none", base_url=self._base_url, max_retries=0,
                                    timeout=TIMEOUT, http_client=http)
        if self._base_url != OPENAI:
            client.organization = client.project = None  # the SDK takes them from the environment; not for others' eyes
        return client

    async def _verdict(self, client: openai.AsyncOpenAI, item: Comparison) -> Verdict:
        shown = await self._ask(client, question(item.prompt, item.a, item.b, item.statement))
        if shown.probability is None or not self._settings.both_orders:
            return (failed(shown.reason, shown.tokens, shown.model) if shown.probability is None
                    else joined(shown.probability, None, shown.tokens, shown.model))
        swapped = await self._ask(client, question(item.prompt, item.b, item.a, item.statement))
        tokens = shown.tokens + swapped.tokens
        if swapped.probability is None:
            return failed(f"in the swapped order: {swapped.reason}", tokens, swapped.model)
        return joined(shown.probability, 1 - swapped.probability, tokens, shown.model)

    async def _ask(self, client: openai.AsyncOpenAI, text: str) -> _Answer:
        tokens = 0
        try:
            if self._top is not None:
                answer = await self._by_logprobs(client, text)
                if answer.probability is not None or answer.reason:
                    return answer
                tokens = answer.tokens
            drawn = await self._by_samples(client, text)
            return drawn._replace(tokens=drawn.tokens + tokens)
        except _Refused as refusal:
            return _Answer(None, str(refusal), tokens, "")

    async def _by_logprobs(self, client: openai.AsyncOpenAI, text: str) -> _Answer:
        """Neither a probability nor a reason in the answer means: this server gives no log-probabilities."""
        while self._top is not None:
            top = self._top
            try:
                reply = await self._request(client, text, 1, temperature=0.0, logprobs=True, top_logprobs=top)
            except _Refused as refusal:
                if "logprobs" not in str(refusal):
                    raise
                # Some servers allow five at most, some none.
                self._top = 5 if top > 5 else None
                continue
            choice, tokens = reply.choices[0], _tokens(reply)
            content = choice.logprobs.content if choice.logprobs else None
            if not content or not content[0].top_logprobs:
                self._top = None
                return _Answer(None, "", tokens, reply.model)
            probability = first_is_better([(entry.token, entry.logprob) for entry in content[0].top_logprobs])
            reason = "" if probability is not None else f"the judge said {content[0].token!r}, neither A nor B"
            return _Answer(probability, reason, tokens, reply.model)
        return _Answer(None, "", 0, "")

    async def _by_samples(self, client: openai.AsyncOpenAI, text: str) -> _Answer:
        wanted, tokens, model = self._settings.samples, 0, ""
        texts: list[str] = []
        while len(texts) < wanted:  # a server may take no notice of `n` and send one answer at a time
            reply = await self._request(client, text, SAMPLED_TOKENS, temperature=1.0, n=wanted - len(texts))
            texts += [choice.message.content or "" for choice in reply.choices]
            tokens, model = tokens + _tokens(reply), reply.model
        letters = [letter for letter in map(read_answer, texts[:wanted]) if letter]
        if not letters:
            return _Answer(None, f"the judge said {texts[0][:60]!r}, neither A nor B", tokens, model)
        return _Answer(letters.count("A") / len(letters), "", tokens, model)

    async def _request(self, client: openai.AsyncOpenAI, text: str, limit: int, **options: Any) -> ChatCompletion:
        """One request, with retries. Raises _Refused for this one, JudgeUnavailable for all of them."""
        retrying = AsyncRetrying(stop=stop_after_attempt(ATTEMPTS), wait=_pause, reraise=True,
                                 retry=retry_if_exception(_may_pass))

        async def create() -> Any:
            # The client's own method is wrapped so that tenacity would not see that it has to be awaited.
            send: Any = client.chat.completions.create
            return await send(model=self._settings.model, messages=[{"role": "user", "content": text}],
                              **{self._limit_name: limit}, **options)

        try:
            reply: Any = await retrying(create)
        except openai.APIStatusError as error:
            if self._limit_name == "max_tokens" and "max_completion_tokens" in error.message:
                self._limit_name = "max_completion_tokens"
                return await self._request(client, text, limit, **options)
            raise self._refusal(error) from None
        except openai.APIConnectionError as error:
            problem = "did not answer in time" if isinstance(error, openai.APITimeoutError) else "cannot be reached"
            raise JudgeUnavailable(f"The judge's server {self._base_url} {problem} ({ATTEMPTS} attempts).",
                                   "Check that it runs and that 'judge.base_url' is right, then resume.") from None
        except openai.OpenAIError as error:
            raise self._one_failed(f"not an answer of a chat model: {self._safe(str(error))}") from None
        if not isinstance(reply, ChatCompletion) or not reply.choices:
            raise self._one_failed("the server's reply holds no answer")
        self._successes += 1
        return reply

    def _refusal(self, error: openai.APIStatusError) -> Exception:
        status, where = error.status_code, self._base_url
        if status in (401, 403):
            return JudgeUnavailable(f"The judge's server {where} refused the key (HTTP {status}).",
                                    "Check the variable named in 'judge.api_key_env' and what the key may do.")
        if status == 404:
            return JudgeUnavailable(f"The judge's server {where} knows no model '{self._settings.model}' (HTTP 404).",
                                    "Check 'judge.model', and that 'judge.base_url' ends in /v1.")
        if 300 <= status < 400:
            return JudgeUnavailable(f"The judge's server {where} sends its callers elsewhere (HTTP {status}).",
                                    "Give the final address in 'judge.base_url'; redirects are not followed.")
        if _code(error) == "insufficient_quota":
            return JudgeUnavailable(f"The account at {where} has no credit left.", "Add credit, then resume.")
        return self._one_failed(f"HTTP {status}: {self._safe(error.message)}")

    def _one_failed(self, reason: str) -> Exception:
        self._failures += 1
        if not self._successes and self._failures >= GIVE_UP_AFTER:
            return JudgeUnavailable(
                f"The judge's server {self._base_url} answered none of {self._failures} requests; the last: {reason}.",
                "Look at the server's own log, then resume.")
        return _Refused(reason)

    def _safe(self, message: str) -> str:
        """A server's message, short and without the key."""
        return (message.replace(self._key, "***") if self._key else message)[:200]


def _tokens(reply: ChatCompletion) -> int:
    return reply.usage.total_tokens if reply.usage else 0


def _code(error: openai.APIStatusError) -> str:
    return str(error.code or error.type or "")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        return passing and _code(error) != "insufficient_quota"
    return isinstance(error, openai.APIConnectionError)


_growing = wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)


def _pause(state: RetryCallState) -> float:
    """Seconds to wait: what the server asks for in Retry-After, else at random below a doubling bound."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    try:
        seconds = float(asked)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(asked).timestamp() - time()
        except ValueError:
            return _growing(state)
    return min(max(seconds, 0.0), LONGEST_WAIT)
