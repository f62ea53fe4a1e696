"""What labelling will cost: from the questions before, from the first hundred replies after."""

from __future__ import annotations

import random

import pytest

from training.config import JudgeSettings
from training.judges.estimate import Observed, Range, corrected, estimate
from training.judges.server_capabilities import ServerCapabilities

PRICED = JudgeSettings(kind="openai", model="m", price_in=2.0, price_out=10.0, concurrency=10)


def test_calls_tokens_money_and_time_are_worked_out_from_the_questions() -> None:
    estimated = estimate(["x" * 420] * 100, PRICED)
    assert (estimated.calls, estimated.chars) == (100, 42_000)
    assert estimated.tokens_in.likely == pytest.approx(42_000 / 4.2 + 800)
    assert estimated.tokens_in.low < estimated.tokens_in.likely < estimated.tokens_in.high
    assert estimated.tokens_out == Range(100, 100, 200)
    assert estimated.money.likely == pytest.approx(10_800 * 2e-6 + 100 * 10e-6)
    assert estimated.seconds.likely == pytest.approx(100 * 0.6 / 10)


def test_a_tenth_of_the_questions_stands_for_all() -> None:
    from_a_tenth, from_all = estimate(["x" * 420] * 10, PRICED, share=0.1), estimate(["x" * 420] * 100, PRICED)
    assert from_a_tenth == from_all


def test_a_slow_minute_makes_it_longer() -> None:
    slow = PRICED.model_copy(update={"requests_per_minute": 50})
    assert estimate(["x"] * 100, slow).seconds == Range(120, 120, 120)


def test_a_judge_that_thinks_writes_more_but_never_more_than_it_is_let() -> None:
    thinking = PRICED.model_copy(update={"reasoning": True})
    let = ServerCapabilities().body(thinking, "x")["max_tokens"]
    assert estimate(["x"] * 10, thinking).tokens_out.likely == 2000
    assert estimate(["x"] * 10, thinking).tokens_out.high == 10 * let


def test_before_a_hundred_replies_nothing_is_corrected() -> None:
    first = estimate(["x" * 420] * 1000, PRICED)
    assert corrected(first, Observed(99, 41_580, 20_000, 99, 5.0), PRICED) is first


def test_after_a_hundred_replies_the_estimate_is_within_a_tenth_of_what_is_billed() -> None:
    # Lengths as in hh-rlhf, and a tokenizer with a mind of its own: 3.6 characters a token, give or take.
    draw = random.Random(5)
    lengths = [int(draw.lognormvariate(6.8, 0.7)) + 400 for _ in range(4000)]
    billed = [round(length / draw.uniform(3.2, 4.0)) + 9 for length in lengths]
    first = estimate(["x" * length for length in lengths], PRICED)
    better = corrected(first, Observed(100, sum(lengths[:100]), sum(billed[:100]), 100, 10.0), PRICED)
    assert better.tokens_in.likely == pytest.approx(sum(billed), rel=0.1)
    assert better.tokens_in.low <= sum(billed) <= better.tokens_in.high
    assert better.seconds.likely == pytest.approx(400)
    assert better.money.likely == pytest.approx(sum(billed) * 2e-6 + 4000 * 10e-6, rel=0.1)


def test_when_all_is_answered_the_estimate_is_the_bill() -> None:
    first = estimate(["x" * 400] * 200, PRICED)
    assert corrected(first, Observed(200, 80_000, 23_456, 200, 7.0), PRICED).tokens_in == Range(23456, 23456, 23456)


def test_without_log_probabilities_every_drawn_answer_counts() -> None:
    questions = ["x" * 400] * 10
    with_them, without = (estimate(questions, JudgeSettings(kind="openai", model="m", samples=4, logprobs=logprobs))
                          for logprobs in ("auto", "no"))
    assert without.tokens_out.likely == 4 * with_them.tokens_out.likely
