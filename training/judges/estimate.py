"""What labelling will cost, before it is bought: calls, tokens, money and time, from the real questions. Pure.

A token is some four characters of English; how many exactly is the tokenizer's business, so that each figure is a
range. The first hundred replies show what a character costs here (`corrected`), and the range narrows. Left out:
discounts for cached prefixes and batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from training.config import JudgeSettings
from training.judges.server_capabilities import THINKING

CHARS_PER_TOKEN = (3.2, 4.2, 5.2)
"""Fewest, likely and most characters per token of a question, over the tokenizers of judges."""

FRAME = 8  # tokens that the chat format adds to a question
REASONING = (60, 200, THINKING)  # tokens that a judge thinks for; no answer is longer than the last
LATENCY = (0.2, 0.6, 2.0)  # seconds per request, where nothing is known
ENOUGH = 100  # replies after which the estimate follows the observations


class Range(NamedTuple):
    low: float
    likely: float
    high: float

    def times(self, factor: float) -> Range:
        return Range(self.low * factor, self.likely * factor, self.high * factor)


@dataclass(frozen=True)
class Estimate:
    """Of a number of calls.

    Attributes:
        calls: answers to buy. chars: characters of all questions together.
        tokens_in, tokens_out: what the judge reads and writes.
        money: at the settings' prices. seconds: from the first call to the last.
    """

    calls: int
    chars: int
    tokens_in: Range
    tokens_out: Range
    money: Range
    seconds: Range


class Observed(NamedTuple):
    """The cost of the answers so far: their number, the characters asked, the tokens billed, and the seconds taken."""

    calls: int
    chars: int
    tokens_in: int
    tokens_out: int
    seconds: float


def estimate(questions: Iterable[str], settings: JudgeSettings, share: float = 1.0) -> Estimate:
    """What these questions will cost.

    Args:
        questions: one text a call, or an even sample of them. Both orders of a pair are two calls of equal length.
        settings: how many calls are in flight, how fast, at what price; whether the judge thinks.
        share: how much of all the calls `questions` are: 0.1 if each stands for ten.
    """
    lengths = [len(question) for question in questions]
    calls, chars = round(len(lengths) / share), round(sum(lengths) / share)
    few, likely, many = CHARS_PER_TOKEN
    tokens_in = Range(chars / many, chars / likely, chars / few)
    tokens_in = Range(*(tokens + FRAME * calls for tokens in tokens_in))
    tokens_out = Range(*REASONING).times(calls) if settings.reasoning else Range(calls, calls, 2 * calls)
    if settings.logprobs == "no" and not settings.reasoning:
        tokens_out = tokens_out.times(settings.samples)  # so many answers are sampled per question
    return Estimate(calls, chars, tokens_in, tokens_out, price(tokens_in, tokens_out, settings),
                    _duration(calls, tokens_in, tokens_out, Range(*LATENCY), settings))


def corrected(first: Estimate, observed: Observed, settings: JudgeSettings) -> Estimate:
    """The estimate of the same calls once some are answered; unchanged before the first `ENOUGH` replies.

    Tokens follow the characters still to be asked, not the number of calls: long pairs may come last.
    """
    if observed.calls < ENOUGH or not observed.chars:
        return first
    tokens_in = _around(first.chars * observed.tokens_in / observed.chars, observed.calls, first.calls)
    tokens_out = _around(first.calls * observed.tokens_out / observed.calls, observed.calls, first.calls)
    duration = first.seconds
    if observed.seconds > 0:
        duration = _around(first.calls * observed.seconds / observed.calls, observed.calls, first.calls)
    return replace(first, tokens_in=tokens_in, tokens_out=tokens_out, money=price(tokens_in, tokens_out, settings),
                   seconds=duration)


def price(tokens_in: Range, tokens_out: Range, settings: JudgeSettings) -> Range:
    """Money for tokens, at prices per million tokens."""
    return Range(*((tokens_read * settings.price_in + tokens_written * settings.price_out) / 1e6
                   for tokens_read, tokens_written in zip(tokens_in, tokens_out, strict=True)))


def _around(value: float, answered: int, total: int) -> Range:
    """A figure projected from `answered` of `total` calls: within a tenth after a hundred, exact when all are seen."""
    spread = 0.1 * (ENOUGH / answered) ** 0.5 * max(0.0, 1 - answered / max(total, 1))
    return Range(value * (1 - spread), value, value * (1 + spread))


def _duration(calls: int, tokens_in: Range, tokens_out: Range, latency: Range, settings: JudgeSettings) -> Range:
    """The slower of the two bounds: requests in flight and rates per minute."""
    thinking = tokens_out.likely / calls / 50 if settings.reasoning and calls else 0.0  # some 50 tokens per second
    allowed = calls / settings.requests_per_minute * 60 if settings.requests_per_minute else 0.0
    seconds = []
    for wait, tokens_read, tokens_written in zip(latency, tokens_in, tokens_out, strict=True):
        flight = calls * (wait + thinking) / settings.concurrency
        tokens = (tokens_read + tokens_written) / settings.tokens_per_minute * 60 if settings.tokens_per_minute else 0.0
        seconds.append(max(flight, allowed, tokens))
    return Range(*seconds)
