"""Judges: who says which of two responses serves a principle better. Torch-free.

A judge is asked with each response shown first (both orders): the label is the mean, and the gap between the two
answers shows the position bias. Left out: judges that grade one response, and more than two at a time.

A judge takes a stream of requests and tells a listener of every answer as it arrives, so that only what is in flight is
in memory: a million pairs need no more than a thousand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from training.config import JudgeSettings
from training.dialogue import Dialogue
from training.judges.identity import judge_name
from training.judges.prompt import prompt_version, question_of
from training.judges.rate_controller import RateController
from training.run.events import AnswerBody, LabelBody


class PairQuestion(NamedTuple):
    """Two responses to one prompt and what is asked about them; `principle` None asks which is better overall."""

    prompt: Dialogue
    a: str
    b: str
    statement: str = ""
    principle: str | None = None


class Answer(NamedTuple):
    """What a judge said in one order.

    Attributes:
        probability: that the option shown first is the better one; None if `reason`.
        reason: why there is none, as "kind: words" (see `protocol.failure_kind`).
        tokens_in, tokens_out, calls, chars: what it cost: tokens billed, requests answered, characters asked.
        model: what the server says answered.
    """

    probability: float | None
    reason: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    chars: int = 0
    model: str = ""


class Verdict(NamedTuple):
    """What a judge said.

    Attributes:
        probability: that `a` is the better one, the mean over the orders asked; None if `error`.
        p_shown: that `a` is the better one, asked with `a` as Option A.
        p_swapped: that `a` is the better one, asked with `a` as Option B; None if that was not asked.
        order_gap: |p_shown - p_swapped|; None if one order only was asked.
        error: why there is no probability; "" if there is one.
        tokens: tokens paid for, in and out. tokens_in: those that the judge read.
        model: what the server says answered.
        calls, chars: requests answered, and the characters asked.
    """

    probability: float | None
    p_shown: float | None
    p_swapped: float | None
    order_gap: float | None
    error: str
    tokens: int
    model: str
    tokens_in: int = 0
    calls: int = 0
    chars: int = 0


class PairRequest(NamedTuple):
    """One pair to judge. `first_order_answer` is the answer to its first order where it is already bought."""

    key: int
    item: PairQuestion
    first_order_answer: Answer | None = None


class Listener(Protocol):
    """Receives the answers. Any of its methods may raise StopRequested: then no new request is sent, requests in flight
    still complete and are reported, and StopRequested is raised."""

    def answered(self, request: PairRequest, answer: Answer) -> None:
        """The first of two orders was answered; the verdict comes with the second."""

    def judged(self, request: PairRequest, verdict: Verdict) -> None: ...

    def tick(self, pace: RateController) -> None:
        """Called several times per second while a server is asked; may change the rates."""

    def notice(self, text: str, warn: bool = True) -> None:
        """A message about the judge for people, which stops nothing; `warn`: as a warning."""


class Judge(Protocol):
    """Anything that compares responses."""

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """Verdicts in the order of `items`.

        `on_verdict(index, verdict)` is called for each as soon as it is there, in any order. It may raise
        StopRequested: then no new request is sent, requests in flight still complete, and StopRequested is raised.

        Raises:
            JudgeUnavailable: when the judge refuses for good or cannot be reached.
        """
        ...


class StreamingJudge(Judge, Protocol):
    """A judge for as many pairs as there are."""

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """Judge every request and tell the listener, in any order. Takes requests one by one, as capacity allows.

        Raises:
            JudgeUnavailable: when the judge refuses for good or cannot be reached.
            BudgetSpent: when the next answer would cost more than the settings allow.
        """
        ...


class _Collector:
    """Verdicts in the order of the items, for callers with few of them."""

    def __init__(self, on_verdict: Callable[[int, Verdict], None] | None) -> None:
        self._on_verdict = on_verdict
        self.verdicts: dict[int, Verdict] = {}

    def answered(self, request: PairRequest, answer: Answer) -> None: ...

    def judged(self, request: PairRequest, verdict: Verdict) -> None:
        self.verdicts[request.key] = verdict
        if self._on_verdict:
            self._on_verdict(request.key, verdict)

    def tick(self, pace: RateController) -> None: ...
    def notice(self, text: str, warn: bool = True) -> None: ...


async def collect(judge: StreamingJudge, items: Sequence[PairQuestion],
                  on_verdict: Callable[[int, Verdict], None] | None) -> list[Verdict]:
    """`Judge.compare` by `StreamingJudge.stream`."""
    collector = _Collector(on_verdict)
    await judge.stream((PairRequest(index, item) for index, item in enumerate(items)), collector)
    return [collector.verdicts[index] for index in range(len(items))]


async def both_orders(ask: Callable[[str], Awaitable[Answer]], request: PairRequest, settings: JudgeSettings,
                      listener: Listener) -> Verdict:
    """Ask in both orders, one after the other; the second is not bought if the first failed."""
    item = request.item
    first_answer = request.first_order_answer or await ask(
        question_of(settings, item.prompt, item.a, item.b, item.statement))
    if first_answer.probability is None or not settings.both_orders:
        return verdict_of(first_answer)
    if request.first_order_answer is None:
        listener.answered(request, first_answer)
    return verdict_of(first_answer, await ask(question_of(settings, item.prompt, item.b, item.a, item.statement)))


def verdict_from_orders(shown: float, swapped: float | None, tokens: int, model: str) -> Verdict:
    """A verdict from the probability that `a` is better in each order asked."""
    if swapped is None:
        return Verdict(shown, shown, None, None, "", tokens, model)
    return Verdict((shown + swapped) / 2, shown, swapped, abs(shown - swapped), "", tokens, model)


def verdict_of(shown: Answer, swapped: Answer | None = None) -> Verdict:
    """A verdict from the answers to the orders asked; the second was asked with the responses swapped."""
    answers = [shown] if swapped is None else [shown, swapped]
    tokens_in = sum(answer.tokens_in for answer in answers)
    tokens_out = sum(answer.tokens_out for answer in answers)
    cost = (tokens_in, sum(answer.calls for answer in answers), sum(answer.chars for answer in answers))
    model = next((answer.model for answer in answers if answer.model), "")
    if shown.probability is None:
        return Verdict(None, None, None, None, shown.reason, tokens_in + tokens_out, model, *cost)
    if swapped is None:
        return Verdict(shown.probability, shown.probability, None, None, "", tokens_in + tokens_out, model, *cost)
    if swapped.probability is None:
        return Verdict(None, None, None, None, f"{swapped.reason} (in the swapped order)",
                       tokens_in + tokens_out, model, *cost)
    p_shown, p_swapped = shown.probability, 1 - swapped.probability
    return Verdict((p_shown + p_swapped) / 2, p_shown, p_swapped, abs(p_shown - p_swapped), "",
                   tokens_in + tokens_out, model, *cost)


def error_verdict(reason: str, tokens: int = 0, model: str = "") -> Verdict:
    return Verdict(None, None, None, None, reason, tokens, model)


def as_label(pair: str, principle: str, verdict: Verdict, settings: JudgeSettings) -> LabelBody:
    """A row of labels.jsonl, which is also the body of a `label` event."""
    return {"pair": pair, "principle": principle, "probability": verdict.probability, "p_shown": verdict.p_shown,
            "p_swapped": verdict.p_swapped, "order_gap": verdict.order_gap, "error": verdict.error,
            "tokens": verdict.tokens, "model": verdict.model, "tokens_in": verdict.tokens_in, "calls": verdict.calls,
            "chars": verdict.chars, "judge": judge_name(settings), "prompt_version": prompt_version(settings)}


def as_answer(pair: str, answer: Answer) -> AnswerBody:
    """The body of an `answer` event: the first of two orders, recorded so that it is not bought again after a kill."""
    return {"pair": pair, "probability": answer.probability, "reason": answer.reason, "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out, "calls": answer.calls, "chars": answer.chars, "model": answer.model}


def answer_of(event: AnswerBody) -> Answer:
    """The answer whose body `as_answer` made."""
    return Answer(event["probability"], event["reason"], event["tokens_in"], event["tokens_out"], event["calls"],
                  event["chars"], event["model"])
