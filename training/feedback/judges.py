"""Judges: who says which of two responses serves a principle better. Torch-free.

A judge is asked with each response shown first (both orders): the label is the mean, the gap between the two answers is
position bias laid open. Left out: judges that grade one response, and more than two at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from training.artifacts import Job
from training.config import Judge as JudgeSettings
from training.dialogue import Dialogue


class Comparison(NamedTuple):
    """Two responses to one prompt and what is asked about them; `principle` None asks which is better overall."""

    prompt: Dialogue
    a: str
    b: str
    statement: str = ""
    principle: str | None = None


class Verdict(NamedTuple):
    """What a judge said.

    Attributes:
        probability: that `a` is the better one, the mean over the orders asked; None if `error`.
        p_shown: that `a` is the better one, asked with `a` as Option A.
        p_swapped: that `a` is the better one, asked with `a` as Option B; None if that was not asked.
        order_gap: |p_shown - p_swapped|; None if one order only was asked.
        error: why there is no probability; "" if there is one.
        tokens: tokens paid for, in and out.
        model: what the server says answered.
    """

    probability: float | None
    p_shown: float | None
    p_swapped: float | None
    order_gap: float | None
    error: str
    tokens: int
    model: str


class Judge(Protocol):
    """Anything that compares responses."""

    async def compare(self, items: Sequence[Comparison],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """Verdicts in the order of `items`.

        `on_verdict(index, verdict)` is called for each as soon as it is there, in any order. It may raise
        StopRequested: nothing more is asked then, what is under way still arrives, and StopRequested is raised.

        Raises:
            JudgeUnavailable: when the judge refuses for good or cannot be reached.
        """
        ...


_KEY: ContextVar[str] = ContextVar("judge_key", default="")


def use_key(key: str) -> None:
    """Set the key that `make_judge` takes where none is given; called by the entry point, which reads it."""
    _KEY.set(key)


def resolve_key() -> str:
    """The key set by `use_key`, or ""."""
    return _KEY.get()


def judge_settings(job: Job) -> JudgeSettings:
    """A job's judge: what is part of the label's identity, and the pace and account from the job's runtime."""
    return JudgeSettings.model_validate({**job.settings["judge"], **job.runtime.get("judge", {})})


def make_judge(settings: JudgeSettings, api_key: str | None = None) -> Judge:
    """The judge that the settings ask for; `api_key` None takes the key of this process."""
    if settings.kind == "rule":
        from training.feedback.rule_judge import RuleJudge

        return RuleJudge()
    from training.feedback.openai_judge import OpenAIJudge

    return OpenAIJudge(settings, resolve_key() if api_key is None else api_key)


def judge_name(settings: JudgeSettings) -> str:
    """What a label names as its judge."""
    return "rule" if settings.kind == "rule" else f"openai:{settings.model}"


def joined(shown: float, swapped: float | None, tokens: int, model: str) -> Verdict:
    """A verdict from the probability that `a` is better in each order asked."""
    if swapped is None:
        return Verdict(shown, shown, None, None, "", tokens, model)
    return Verdict((shown + swapped) / 2, shown, swapped, abs(shown - swapped), "", tokens, model)


def failed(reason: str, tokens: int = 0, model: str = "") -> Verdict:
    return Verdict(None, None, None, None, reason, tokens, model)


def as_label(pair: str, principle: str, verdict: Verdict, settings: JudgeSettings) -> dict[str, Any]:
    """A row of labels.jsonl, which is also the body of a `label` event."""
    from training.feedback.prompt import PROMPT_VERSION

    return {"pair": pair, "principle": principle, **verdict._asdict(), "judge": judge_name(settings),
            "prompt_version": "" if settings.kind == "rule" else PROMPT_VERSION}
