"""The judge of a measured principle: the better response is the one that measures higher, or lower.

It needs no key and no server, costs nothing, and has no position bias: both orders agree.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from training.config import JudgeSettings
from training.dialogue import Dialogue
from training.errors import BadSettings, MeasureFailed
from training.judges.judge import (
    Listener,
    PairQuestion,
    PairRequest,
    Verdict,
    collect,
    error_verdict,
    verdict_from_orders,
)
from training.measures import ReferenceOf, make_measure, no_reference


def preference(first: float, second: float, toward: str, softness: float) -> float:
    """P(first is better) of two numbers: 1, 0, or 1/2 for a tie; where `softness` is above 0, the Bradley-Terry form
    1 / (1 + exp(-d / softness)) of their difference d.

    >>> preference(3, 5, "low", 0), preference(4, 4, "high", 0), round(preference(5, 3, "high", 2), 3)
    (1.0, 0.5, 0.731)
    """
    difference = first - second if toward == "high" else second - first
    if softness == 0 or difference == 0:
        return 0.5 + 0.5 * ((difference > 0) - (difference < 0))
    return 0.5 + 0.5 * math.tanh(difference / softness / 2)


class MeasureJudge:
    """A StreamingJudge that measures both responses.

    Args:
        reference_of: where the reference answers of prompts are.

    Raises:
        BadSettings: the settings have no measure, or it is not installed.
    """

    def __init__(self, settings: JudgeSettings, reference_of: ReferenceOf = no_reference) -> None:
        if settings.measure is None:
            raise BadSettings("This judge has no measure.", "Give a principle a 'measure'.")
        self._settings, self._both_orders = settings.measure, settings.both_orders
        self._measure = make_measure(settings.measure, reference_of)

    async def compare(self, items: Sequence[PairQuestion],
                      on_verdict: Callable[[int, Verdict], None] | None = None) -> list[Verdict]:
        """See `judge.Judge`."""
        return await collect(self, items, on_verdict)

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        """See `judge.StreamingJudge`. A response without a number leaves its pair without a label."""
        for request in requests:
            listener.judged(request, self._verdict(request.item))

    def _verdict(self, item: PairQuestion) -> Verdict:
        try:
            first, second = self._measure(item.prompt, item.a), self._measure(item.prompt, item.b)
        except MeasureFailed as error:
            return error_verdict(f"{error.kind}: {error.cause}")
        shown = preference(first, second, self._settings.toward, self._settings.softness)
        return verdict_from_orders(shown, shown if self._both_orders else None, tokens=0, model=self._settings.kind)


def measured_verdicts(judges: Mapping[str, Mapping[str, Any]], prompts: Sequence[Dialogue], a: Sequence[str],
                      b: Sequence[str], reference_of: ReferenceOf = no_reference) -> dict[str, list[Verdict]]:
    """By measured principle, a verdict on each pair; `judges` are the settings of `pipeline.measuring_judges`."""
    items = [PairQuestion(*pair) for pair in zip(prompts, a, b, strict=True)]
    return {name: asyncio.run(MeasureJudge(JudgeSettings.model_validate(settings), reference_of).compare(items))
            for name, settings in judges.items()}


def overall_by_weight(verdicts: Mapping[str, Sequence[Verdict]], shares: Mapping[str, float]) -> list[Verdict]:
    """The verdict over all principles where no judge is asked: the mean of their probabilities by share, of 1 - p where
    a share is negative."""
    overall = []
    for of_pair in zip(*verdicts.values(), strict=True):
        by_name = dict(zip(verdicts, of_pair, strict=True))
        failed = next((verdict for verdict in of_pair if verdict.probability is None), None)
        mean = math.fsum(abs(shares[name]) * (p if shares[name] > 0 else 1 - p) for name, verdict in by_name.items()
                         if (p := verdict.probability) is not None)
        overall.append(failed or verdict_from_orders(mean, mean, tokens=0, model="measures"))
    return overall
