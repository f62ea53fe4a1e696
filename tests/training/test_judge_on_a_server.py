"""A judge behind an OpenAI-compatible server: what is asked, what is retried, what ends it, what a label says."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.training.scripted_server import Reply, completion, failure, letters, options, serving
from training.config import JudgeSettings
from training.errors import JudgeUnavailable, StopRequested
from training.judges.choose import make_judge
from training.judges.judge import PairQuestion, Verdict

KEY = "sk-very-secret-0123456789"
PAIR = PairQuestion([{"role": "user", "content": "How are you?"}], "Well.", "You fool!", "less toxic", "toxicity")


def settings(base_url: str, **changes: Any) -> JudgeSettings:
    return JudgeSettings.model_validate({"kind": "openai", "model": "judge-7b", "base_url": base_url, **changes})


async def ask(base_url: str, items: list[PairQuestion] | None = None, **changes: Any) -> list[Verdict]:
    return await make_judge(settings(base_url, **changes), KEY).compare(items or [PAIR])


def leaning(body: dict[str, Any], _: int) -> Reply:
    """0.9 for "Well." shown first, 0.3 for it shown second: this judge leans towards Option A."""
    return letters(0.9 if options(body)[0] == "Well." else 0.7)


async def test_both_orders_are_asked_and_their_mean_is_the_label() -> None:
    with serving(leaning) as server:
        [verdict] = await ask(server.base_url)
    assert verdict.p_shown == pytest.approx(0.9)
    assert verdict.p_swapped == pytest.approx(0.3)
    assert verdict.probability == pytest.approx(0.6)
    assert verdict.order_gap == pytest.approx(0.6)
    assert (verdict.error, verdict.tokens, verdict.model) == ("", 22, "judge-7b")
    assert [options(body) for body in server.requests] == [("Well.", "You fool!"), ("You fool!", "Well.")]
    assert {body["max_tokens"] for body in server.requests} == {1}
    assert all("Which response is less toxic?" in body["messages"][0]["content"] for body in server.requests)
    assert server.keys == [f"Bearer {KEY}"] * 2


async def test_one_order_costs_one_request_and_says_nothing_of_position() -> None:
    with serving(leaning) as server:
        [verdict] = await ask(server.base_url, both_orders=False)
    assert verdict.probability == pytest.approx(0.9)
    assert (verdict.p_swapped, verdict.order_gap, len(server.requests)) == (None, None, 1)


async def test_a_server_without_logprobs_is_asked_for_samples() -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        if body.get("logprobs"):
            return completion("A")
        # It takes `n` at its word; three of four answers are for the kind response, one of them cannot be read.
        first = options(body)[0] == "Well."
        return completion(*(["A", "Option A", "(a)", "B"] if first else ["B", "b.", "A", "I would rather not"]))

    with serving(script) as server:
        [verdict] = await ask(server.base_url, samples=4)
    assert verdict.p_shown == pytest.approx(3 / 4)
    assert verdict.p_swapped == pytest.approx(1 - 1 / 3)
    assert [body.get("n") for body in server.requests] == [None, 4, 4]  # it is not asked for logprobs again


async def test_a_server_that_refuses_logprobs_and_sends_one_answer_at_a_time_still_serves() -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        return failure(400, "logprobs is not supported") if body.get("logprobs") else completion("A")

    with serving(script) as server:
        [verdict] = await ask(server.base_url, samples=2, both_orders=False)
    assert verdict.probability == 1.0
    assert [body.get("n") for body in server.requests] == [None, None, 2, 1]  # 20, then 5, then samples one by one


async def test_a_newer_model_is_asked_in_its_own_words() -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        if "max_tokens" in body:
            return failure(400, "Unsupported parameter: use 'max_completion_tokens' instead")
        return letters(0.8)

    with serving(script) as server:
        [verdict] = await ask(server.base_url, both_orders=False)
    assert verdict.probability == pytest.approx(0.8)


async def test_too_many_requests_waits_as_long_as_the_server_says() -> None:
    with serving(lambda _, number: failure(429, Retry_After="0.4") if number == 1 else letters(0.8)) as server:
        started = time.monotonic()
        [verdict] = await ask(server.base_url, both_orders=False)
    assert verdict.probability == pytest.approx(0.8)
    assert time.monotonic() - started >= 0.4


async def test_a_server_that_answers_429_ten_times_is_not_taken_to_be_down() -> None:
    open_at = []
    with serving(lambda _, number: failure(429, Retry_After="0.01") if number <= 10 else letters(0.8)) as server:
        judge = make_judge(settings(server.base_url, both_orders=False), KEY)
        reply = server.script

        def watching(body: dict[str, Any], number: int) -> Reply:
            open_at.append(judge.pace.is_open)
            return reply(body, number)

        server.script = watching
        [verdict] = await judge.compare([PAIR])
    assert (verdict.probability, open_at) == (pytest.approx(0.8), [False] * 11)


async def test_a_passing_error_of_the_server_is_asked_again() -> None:
    with serving(lambda _, number: failure(500) if number < 3 else letters(0.8)) as server:
        [verdict] = await ask(server.base_url, both_orders=False)
    assert (verdict.error, len(server.requests)) == ("", 3)


@pytest.mark.parametrize("answer", ["I cannot judge that.", "", "C"])
async def test_a_refusal_is_an_error_with_its_reason_and_never_a_guess(answer: str) -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        token = {"token": answer, "logprob": -0.01, "bytes": None}
        return completion(answer, logprobs={"content": [{**token, "top_logprobs": [token]}], "refusal": None})

    with serving(script) as server:
        [verdict] = await ask(server.base_url)
    assert verdict.probability is None and verdict.p_shown is None
    assert "neither A nor B" in verdict.error
    assert len(server.requests) == 1  # the other order is not paid for


async def test_one_bad_pair_does_not_spoil_the_others() -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        too_long = "too long" in body["messages"][0]["content"]
        return failure(400, f"the context is full, {KEY}") if too_long else letters(0.8)

    items = [PAIR, PAIR._replace(a="too long"), PAIR]
    with serving(script) as server:
        first, second, third = await ask(server.base_url, items)
    assert (first.error, third.error) == ("", "")
    assert second.probability is None and "HTTP 400: " in second.error and "context is full" in second.error
    assert KEY not in second.error


@pytest.mark.parametrize(("status", "cause"), [
    (401, "refused the key"), (403, "refused the key"), (404, "knows no model 'judge-7b'"),
    (307, "sends its callers elsewhere")])
async def test_what_will_not_pass_ends_it_at_once_with_a_remedy(status: int, cause: str) -> None:
    reply = failure(status, f"Incorrect API key provided: {KEY}", location="http://127.0.0.1:9/v1/chat/completions")
    with serving(lambda *_: reply) as server, pytest.raises(JudgeUnavailable) as caught:
        await ask(server.base_url, [PAIR] * 50, concurrency=2)
    assert cause in caught.value.cause and caught.value.remedy
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 3, "two in flight, and one without log-probabilities"


async def test_an_account_without_credit_is_not_asked_again() -> None:
    reply = failure(429, "You exceeded your quota", code="insufficient_quota")
    with serving(lambda *_: reply) as server, pytest.raises(JudgeUnavailable, match="no credit left"):
        await ask(server.base_url)
    assert len(server.requests) == 1


async def test_a_server_that_speaks_another_language_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.judges.rate_controller.PROBES_AT_FIRST", 1)
    reply, message = Reply(200, b"<html>hello</html>", {"Content-Type": "text/html"}), "answered none of 4 requests"
    with serving(lambda *_: reply) as server, pytest.raises(JudgeUnavailable, match=message):
        await ask(server.base_url, [PAIR] * 30, concurrency=1)


async def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.judges.rate_controller.PROBES_AT_FIRST", 1)
    with pytest.raises(JudgeUnavailable, match="http://127.0.0.1:9/v1 answered none .* cannot be reached"):
        await ask("http://127.0.0.1:9/v1")


async def test_openai_without_a_key_is_refused_before_anything_is_sent() -> None:
    judge = make_judge(JudgeSettings(kind="openai", model="gpt"), "")
    with pytest.raises(JudgeUnavailable, match="asks for a key"):
        await judge.compare([PAIR])


async def test_no_more_than_the_set_number_of_requests_is_in_flight() -> None:
    in_flight, most = [0], [0]

    def script(*_: Any) -> Reply:
        in_flight[0] += 1
        most[0] = max(most[0], in_flight[0])
        time.sleep(0.02)
        in_flight[0] -= 1
        return letters(0.8)

    with serving(script) as server:
        verdicts = await ask(server.base_url, [PAIR] * 12, concurrency=3, both_orders=False)
    assert len(verdicts) == 12 and most[0] == 3


async def test_a_stop_asks_nothing_more_and_hands_over_what_was_under_way() -> None:
    reported: list[int] = []

    def on_verdict(index: int, _: Verdict) -> None:
        reported.append(index)
        raise StopRequested

    with serving(leaning) as server:
        judge = make_judge(settings(server.base_url, concurrency=2, both_orders=False), KEY)
        with pytest.raises(StopRequested):
            await judge.compare([PAIR] * 20, on_verdict)
    assert len(server.requests) == len(reported) == 2
