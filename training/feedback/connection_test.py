"""Does a judge work? One question, and what its answer shows: log-probabilities, limits, latency.

Nothing is guessed: what the server did not show is said to be unknown. The key never enters a report.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import openai

from training.config import Judge
from training.errors import JudgeUnavailable
from training.feedback import sdk
from training.feedback.addresses import AddressGuard
from training.feedback.limits import RateLimits, read_limits
from training.feedback.prompt import question_of
from training.feedback.protocol import Dialect, Reading, read_reply, safe, said_by

_PROMPT: list[Any] = [{"role": "user", "content": "What is two and two?"}]


@dataclass(frozen=True)
class ConnectionReport:
    """What one question showed.

    Attributes:
        works: a letter came back. reason: why not, in words for whoever typed the address; "" if it works.
        model: what the server says answered.
        logprobs: whether log-probabilities come with the answer; without them answers are drawn and counted.
        top_logprobs: how many of the likeliest tokens come with it at most.
        limits: what the server said one may ask a minute; None if it said nothing.
        latency: seconds that the answer took. tokens_in, tokens_out: what it was billed as; 0 if not said.
    """

    works: bool
    reason: str = ""
    model: str = ""
    logprobs: bool = False
    top_logprobs: int = 0
    limits: RateLimits | None = None
    latency: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0


async def test_connection(settings: Judge, key: str, guard: AddressGuard | None = None) -> ConnectionReport:
    """Ask the judge one question. Raises nothing: whatever hinders it is the report's `reason`.

    Args:
        guard: which addresses are allowed; None takes the list of this process.
    """
    if settings.kind != "openai":
        return ConnectionReport(True, model="rules" if settings.kind == "rule" else settings.model, logprobs=True)
    try:
        sdk.check_key(settings, key)
        guard = guard or AddressGuard.of_process()
        guard.check_url(sdk.base_url(settings))
        async with sdk.client(settings, key, guard) as client:
            return await _ask(client, settings, key)
    except JudgeUnavailable as problem:
        return ConnectionReport(False, str(problem))


test_connection.__test__ = False  # type: ignore[attr-defined]  # pytest: a name, not a test


async def _ask(client: openai.AsyncOpenAI, settings: Judge, key: str) -> ConnectionReport:
    dialect, text = Dialect(), question_of(settings, _PROMPT, "Four.", "A fish.", "more factual")
    for _ in range(5):  # each time in other words, as the server wants them
        began = time.monotonic()
        body = dialect.body(settings, text)
        try:
            raw: Any = await client.chat.completions.with_raw_response.create(**body)
        except openai.APIStatusError as error:
            said = said_by(error.response.content)
            if dialect.learn(error.status_code, said, body):
                continue
            return ConnectionReport(False, why_not(error.status_code, safe(said, key), settings))
        except openai.APITimeoutError:
            return ConnectionReport(False, f"It did not answer within {settings.timeout} seconds.")
        except openai.APIConnectionError as error:
            if refused := sdk.refusal(error):
                raise refused from None
            return ConnectionReport(False, f"The server {sdk.base_url(settings)} cannot be reached: is the address "
                                           "right, and does it run?")
        latency = time.monotonic() - began
        reading = read_reply(raw.content, settings.reasoning)
        if dialect.understood(reading, body):
            reading = reading._replace(reason=safe(reading.reason, key))
            return _report(reading, latency, read_limits(raw.headers))
    return ConnectionReport(False, "The server refuses the question in every form that Concord knows.")


def _report(reading: Reading, latency: float, limits: RateLimits | None) -> ConnectionReport:
    fine = not reading.fault and (reading.probability is not None or bool(reading.letters))
    reason = "" if fine else f"It answers, but with no letter: {reading.reason or 'nothing'}."
    if reading.fault:
        reason = f"It answers in another language than a chat model's ({reading.reason}): does the address end in /v1?"
    return ConnectionReport(fine, reason, reading.model, reading.top > 0, reading.top, limits, round(latency, 3),
                            reading.tokens_in, reading.tokens_out)


def why_not(status: int, message: str, settings: Judge) -> str:
    """What an HTTP status means for whoever set the judge up."""
    if status in (401, 403):
        return f"The server refused the key (HTTP {status})."
    if status == 404:
        return f"The server knows no model '{settings.model}', or the address does not end in /v1 (HTTP 404)."
    if 300 <= status < 400:
        return f"The server sends its callers elsewhere (HTTP {status}); give the final address."
    if status == 429:
        return f"The server has enough of us, or the account has no credit left (HTTP 429: {message})."
    return f"The server refused the question (HTTP {status}: {message})."
