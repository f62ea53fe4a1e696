"""How fast a server is asked: the window, the minute's rates, the breaker, all by a clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from training.config import JudgeSettings
from training.judges import rate_controller as pace_module
from training.judges.limits import RateLimits
from training.judges.rate_controller import RateController, TokenBucket
from training.judges.spending import Spending, allows, budget_spent


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock, **settings: int) -> RateController:
    judge = JudgeSettings.model_validate({"kind": "openai", "model": "m", "concurrency": 8, **settings})
    return RateController(judge, clock, draw=lambda: 1.0)


def enters(pace: RateController) -> bool:
    """Whether one more may be sent now."""
    if pace._wait() > 0:
        return False
    asyncio.run(pace.enter(10))
    return True


def test_the_window_halves_once_for_one_overload_and_grows_by_one_a_window() -> None:
    clock = Clock()
    pace = made(clock)
    pace.on_rate_limited(None)
    pace.on_rate_limited(None)
    assert pace.window == 4
    for _ in range(4):
        pace.on_success()
    assert 4.9 < pace.window < 5.1
    clock.now += 2
    for _ in range(20):
        pace.on_rate_limited(None)
        clock.now += 2
    assert pace.window == 1
    for _ in range(200):
        pace.on_success()
    assert pace.window == 8  # and never more than was set


def test_a_server_that_wants_to_be_left_alone_is() -> None:
    clock = Clock()
    pace = made(clock)
    pace.on_rate_limited(7.0)
    assert not enters(pace)
    clock.now += 6.9
    assert not enters(pace)
    clock.now += 0.2
    assert enters(pace)


def test_no_minute_sees_more_requests_than_were_allowed() -> None:
    clock = Clock()
    bucket = TokenBucket(120, clock.now)
    taken = []
    for _ in range(3000):
        if bucket.wait(clock.now) == 0:
            bucket.take(1)
            taken.append(clock.now)
        clock.now += 0.05
    busiest = max(sum(start <= time < start + 60 for time in taken) for start in taken)
    assert 110 <= busiest <= 120


def test_tokens_are_held_to_their_rate_by_what_was_asked() -> None:
    clock = Clock()
    pace = made(clock, tokens_per_minute=61 * 5)
    assert enters(pace)  # ten tokens: five more than a second's worth
    assert not enters(pace)
    clock.now += 1.0
    assert not enters(pace)
    clock.now += 0.3
    assert enters(pace)


def test_what_headers_say_bounds_what_was_set() -> None:
    clock = Clock()
    pace = made(clock, requests_per_minute=6000)
    pace.on_success(RateLimits(limit_requests=61, remaining_requests=0, reset_requests=3.0))
    assert not enters(pace)
    clock.now += 3.1
    assert enters(pace) and not enters(pace)  # one a second now, not a hundred


def test_a_server_that_never_answers_is_given_up_after_a_few_probes() -> None:
    clock = Clock()
    pace = made(clock)
    failures = 0
    while not pace.on_failure(sent_at=clock.now):
        failures += 1
        clock.now = max(clock.now, pace._held_until)
        assert failures < 20
    assert pace.is_open and failures == pace_module.OPEN_AT_FIRST + pace_module.PROBES_AT_FIRST - 1


def test_a_server_that_went_away_is_probed_one_at_a_time_and_taken_back() -> None:
    clock = Clock()
    pace = made(clock)
    pace.on_success()
    for _ in range(pace_module.OPEN_AFTER):
        assert not pace.on_failure(sent_at=clock.now)
    assert pace.is_open and not enters(pace)
    clock.now += 0.6
    assert enters(pace) and not enters(pace)  # one probe, and nothing beside it
    pace.leave()
    pace.on_success()
    assert not pace.is_open and enters(pace) and enters(pace)


def test_what_was_under_way_when_a_probe_failed_is_no_probe() -> None:
    clock = Clock()
    pace = made(clock)
    pace.on_success()
    for _ in range(200):  # a whole window fails at once: one lesson
        assert not pace.on_failure(sent_at=clock.now)
    assert pace._held_until - clock.now == pytest.approx(0.5)


def test_a_server_that_stays_away_is_given_up_in_the_end() -> None:
    clock = Clock()
    pace = made(clock)
    pace.on_success()
    waited = 0
    while not pace.on_failure(sent_at=clock.now):
        clock.now = max(clock.now, pace._held_until)
        waited += 1
    assert 600 < clock.now - 100 < 800 and waited < 40


async def test_a_paused_gate_lets_nobody_in_until_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "LOOK", 0.01)
    pace = RateController(JudgeSettings(kind="openai", model="m"))
    pace.paused = True
    waiting = asyncio.create_task(pace.enter(1))
    await asyncio.sleep(0.03)
    assert not waiting.done() and pace.in_flight == 0
    pace.paused = False
    await asyncio.wait_for(waiting, 5)
    assert pace.in_flight == 1


def test_a_budget_bounds_the_first_answers_too_by_what_they_are_estimated_to_cost() -> None:
    tokens = JudgeSettings(kind="openai", model="m", budget_tokens=1000)
    assert allows(tokens, Spending(), calls=2, chars=3000)
    assert not allows(tokens, Spending(), calls=4, chars=6000)
    thinking = tokens.model_copy(update={"reasoning": True})
    assert not allows(thinking, Spending(), calls=1, chars=30)
    money = JudgeSettings(kind="openai", model="m", budget_money=1.0, price_in=1.0, price_out=2.0)
    assert not allows(money, Spending(), calls=20_000, chars=20_000 * 1000)


def test_a_server_that_tells_no_tokens_is_held_to_what_they_are_estimated_to_be() -> None:
    tokens = JudgeSettings(kind="openai", model="m", budget_tokens=1000)
    assert not allows(tokens, Spending(calls=10, chars=10_000), calls=1, chars=1000)


def test_a_servers_limit_bounds_the_rate_that_was_set_and_never_raises_it() -> None:
    clock = Clock()
    pace = made(clock, requests_per_minute=60)
    pace.on_success(RateLimits(limit_requests=6000))
    assert enters(pace) and not enters(pace), "one a second"
    pace.on_success(RateLimits(limit_requests=6))
    clock.now += 2.0
    assert enters(pace) and not enters(pace)
    clock.now += 2.0
    assert not enters(pace), "one in ten seconds"


def test_a_budget_expects_every_answer_that_is_sampled() -> None:
    one = JudgeSettings(kind="openai", model="m")
    sampled = one.model_copy(update={"logprobs": "no", "samples": 8})
    expected = [Spending().expected(settings, calls=5, chars=0).tokens_out for settings in (one, sampled)]
    assert expected == [10, 80]


def test_a_budget_counts_what_is_in_flight_as_spent() -> None:
    judge = JudgeSettings(kind="openai", model="m", budget_calls=10)
    assert allows(judge, Spending(calls=7), calls=3, chars=0)
    assert not allows(judge, Spending(calls=7), calls=4, chars=0)
    tokens = JudgeSettings(kind="openai", model="m", budget_tokens=1000)
    spent = Spending(8, 700, 100, chars=2800)  # 25 tokens for a hundred characters and 12.5 for an answer
    assert allows(tokens, spent, calls=2, chars=700)
    assert not allows(tokens, spent, calls=3, chars=1050)
    money = JudgeSettings(kind="openai", model="m", budget_money=1.0, price_in=1.0, price_out=2.0)
    dear = Spending(4, 700_000, 10_000, chars=4)
    assert allows(money, dear, calls=1, chars=1)
    assert not allows(money, dear, calls=2, chars=2)
    assert "0.72 of 1.00" in str(budget_spent(money, Spending(4, 700_000, 10_000)))
