"""Does a judge work? One question, asked as a run would ask it, and what its answer shows: log-probabilities, limits.

The question goes through the same class as a run's, so that the two agree: the server's capabilities are learnt as in a
run, and answers are sampled where a run would sample them. Nothing is guessed: what the server did not show is reported
as unknown. The key never enters a report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.config import JudgeSettings
from training.errors import TrainingError
from training.judges.addresses import AddressGuard
from training.judges.limits import RateLimits
from training.judges.openai_judge import OpenAIJudge
from training.judges.prompt import question_of
from training.judges.protocol import failure_kind

ATTEMPTS = 3  # of one request: a person is waiting
PATIENCE = 10.0  # the longest Retry-After, in seconds, that is waited for

_PROMPT: list[Any] = [{"role": "user", "content": "What is two and two?"}]


@dataclass(frozen=True)
class ConnectionReport:
    """What one question showed.

    Attributes:
        works: a letter came back. reason: why not, in words for whoever typed the address; "" if it works.
        model: what the server says answered.
        logprobs: whether log-probabilities come with the answer; without them answers are drawn and counted.
        top_logprobs: how many of the likeliest tokens come with it at most.
        limits: the rate limits that the server named; None if it named none.
        latency: seconds that the answer took. tokens_in, tokens_out: what it was billed as; 0 if not said.
        thinks: it thinks before its letter.
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
    thinks: bool = False


async def test_connection(settings: JudgeSettings, key: str, guard: AddressGuard | None = None) -> ConnectionReport:
    """Ask the judge one question. Raises nothing: any failure is the report's `reason`.

    Args:
        guard: which addresses are allowed; None takes the list of this process.
    """
    if settings.kind != "openai":
        return ConnectionReport(True, model="rules" if settings.kind == "rule" else settings.model, logprobs=True)
    judge = OpenAIJudge(settings, key, guard, attempts=ATTEMPTS, patience=PATIENCE)
    try:
        answer = await judge.answer_one(question_of(settings, _PROMPT, "Four.", "A fish.", "more factual"))
    except TrainingError as problem:
        return ConnectionReport(False, str(problem))
    reason = "" if answer.probability is not None else _why_not(answer.reason)
    if judge.last is None:
        return ConnectionReport(False, reason)
    reading = judge.last.reading
    return ConnectionReport(not reason, reason, reading.model, reading.top > 0, reading.top, judge.last.limits,
                            round(judge.last.latency, 3), reading.tokens_in, reading.tokens_out,
                            settings.reasoning or reading.thinking)


test_connection.__test__ = False  # type: ignore[attr-defined]  # pytest: a name, not a test


def _why_not(reason: str) -> str:
    """Why the question got no letter, for whoever typed the address."""
    kind = failure_kind(reason)
    if kind == "garbled":
        return f"Its replies are not those of a chat model ({reason}): does the address end in /v1?"
    if kind in {"unreadable", "refused", "empty"}:
        return f"It answers, but with no letter: {reason}."
    return f"It did not answer the question: {reason}."
