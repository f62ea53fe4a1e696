"""Testing a judge's connection: one question shows what works, and nothing of the key."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.scripted_server import Reply, completion, failure, letters, serving
from training.config import JudgeSettings
from training.judges.addresses import AddressGuard
from training.judges.connection_test import test_connection as try_connection
from training.judges.limits import RateLimits, read_limits, retry_after, seconds, wait_named_in

KEY = "sk-very-secret-0123456789"


def judge(base_url: str) -> JudgeSettings:
    return JudgeSettings(kind="openai", model="judge-7b", base_url=base_url, timeout=5)


async def test_a_judge_that_works_shows_its_model_its_logprobs_and_its_limits() -> None:
    headers = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499",
               "x-ratelimit-reset-requests": "120ms", "x-ratelimit-limit-tokens": "30000",
               "x-ratelimit-remaining-tokens": "29000", "x-ratelimit-reset-tokens": "6m0s"}
    with serving(lambda *_: letters(0.8)._replace(headers=headers)) as server:
        report = await try_connection(judge(server.base_url), KEY)
    assert report.works and report.reason == "" and report.model == "judge-7b"
    assert report.logprobs and report.top_logprobs == 2 and report.latency > 0
    assert report.limits == RateLimits(500, 499, 0.12, 30000, 29000, 360.0)
    assert (report.tokens_in, report.tokens_out) == (10, 1)


async def test_a_judge_without_logprobs_works_and_says_so() -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        return failure(400, "logprobs are not supported") if body.get("logprobs") else completion("Option A")

    with serving(script) as server:
        report = await try_connection(judge(server.base_url), KEY)
    assert report.works and not report.logprobs and report.top_logprobs == 0
    assert [body.get("top_logprobs") for body in server.requests] == [20, 5, None, None, None, None]
    assert [body.get("n") for body in server.requests] == [None, None, 4, 3, 2, 1], "as a run draws its answers"


@pytest.mark.parametrize(("reply", "reason"), [
    (failure(401, f"Incorrect API key provided: {KEY}"), "refused the key"),
    (failure(404, "no such model"), "knows no model 'judge-7b'"),
    (failure(500, f"oh no, {KEY}"), "oh no, ***"),
    (Reply(302, {}, {"Location": "http://10.0.0.1/"}), "sends its callers elsewhere"),
    (Reply(200, b"<html>", {"Content-Type": "text/html"}), "not those of a chat model"),
    (completion("I cannot judge that."), "with no letter"),
])
async def test_what_does_not_work_is_told_with_its_reason_and_without_the_key(reply: Reply, reason: str) -> None:
    with serving(lambda *_: reply) as server:
        report = await try_connection(judge(server.base_url), KEY)
    assert not report.works and reason in report.reason and KEY not in report.reason


async def test_a_server_that_is_not_there_and_one_that_must_not_be_asked() -> None:
    assert "cannot be reached" in (await try_connection(judge("http://127.0.0.1:9/v1"), KEY)).reason
    report = await try_connection(judge("http://127.0.0.1:9/v1"), KEY, AddressGuard())
    assert "inside a private network" in report.reason
    assert "none is set" in (await try_connection(JudgeSettings(kind="openai", model="gpt"), "")).reason


def test_headers_are_read_as_servers_write_them() -> None:
    assert read_limits({}) is None
    assert read_limits({"x-ratelimit-limit-requests": "soon"}) == RateLimits()
    assert [seconds(text) for text in ("1s", "1m30s", "1h", "250ms", "3", "1.5s", "x", "")] == [
        1, 90, 3600, 0.25, 3, 1.5, None, None]
    assert retry_after("7", 0) == 7 and retry_after("", 0) is None and retry_after("later", 0) is None
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400) == 0


@pytest.mark.parametrize(("words", "wait"), [
    ("Rate limit reached for gpt-5. Please try again in 7m12s.", 432.0), ("Try again in 20ms", 0.02),
    ("limit exceeded; RETRY AFTER 34s", 34.0), ('{"retryDelay": "34.5s"}', 34.5), ("try again later", None),
    ("We had 55h of rain", None), ("try again in " + "9" * 5000 + "s", None)])
def test_a_wait_is_read_from_the_words_where_no_header_names_it(words: str, wait: float | None) -> None:
    assert wait_named_in(words) == wait
