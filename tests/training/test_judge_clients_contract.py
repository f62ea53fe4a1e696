"""One contract for all that speak to a judge's server: the bulk path over aiohttp, and the openai SDK in the connection
test and the Batch API. The same question is asked in the same words, the same reply is read the same way, and nothing
of the key comes out of any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.training.batch_server import batches
from tests.training.scripted_server import Reply, Script, completion, failure, letters, serving
from training.config import JudgeSettings
from training.errors import JudgeUnavailable
from training.judges.addresses import AddressGuard
from training.judges.batch_judge import BatchJudge
from training.judges.connection_test import test_connection as try_connection
from training.judges.judge import PairQuestion
from training.judges.openai_judge import OpenAIJudge

KEY = "sk-very-secret-0123456789"
QUESTION = PairQuestion([{"role": "user", "content": "What is two and two?"}], "Four.", "A fish.", "more factual")
OPEN = AddressGuard(("127.0.0.1",))


class Outcome(NamedTuple):
    """What a client made of one question. `reason` is "" if it came to a letter."""

    reason: str
    billed: bool = False
    model: str = ""


def settings(base_url: str) -> JudgeSettings:
    return JudgeSettings(kind="openai", model="judge-7b", base_url=base_url, both_orders=False, samples=1, timeout=5)


async def bulk(base_url: str, key: str = KEY, guard: AddressGuard = OPEN) -> Outcome:
    try:
        [verdict] = await OpenAIJudge(settings(base_url), key, guard).compare([QUESTION])
    except JudgeUnavailable as problem:
        return Outcome(str(problem))
    return Outcome(verdict.error, verdict.tokens > 0, verdict.model)


async def connection(base_url: str, key: str = KEY, guard: AddressGuard = OPEN) -> Outcome:
    report = await try_connection(settings(base_url), key, guard)
    return Outcome(report.reason, report.tokens_in > 0, report.model)


Client = Callable[..., Awaitable[Outcome]]
clients = pytest.mark.parametrize("client", [bulk, connection])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bulk path asks a server that fails again, with pauses; here once is enough."""
    monkeypatch.setattr("training.judges.openai_judge.ATTEMPTS", 1)


def wants_five(body: dict[str, Any], _: int) -> Reply:
    return failure(400, "top_logprobs must be at most 5") if body.get("top_logprobs", 0) > 5 else letters(0.8)


def knows_no_logprobs(body: dict[str, Any], _: int) -> Reply:
    detail = {"detail": [{"loc": ["body", "logprobs"], "msg": "extra fields not permitted"}]}
    return Reply(422, detail) if body.get("logprobs") else completion("A")


def forgets_logprobs(*_: Any) -> Reply:
    return completion("B")


def is_newer(body: dict[str, Any], _: int) -> Reply:
    if "max_tokens" in body:
        return failure(400, "Unsupported parameter: use 'max_completion_tokens' instead")
    return failure(400, "temperature does not support 0") if "temperature" in body else letters(0.8)


def begins_with_a_word(body: dict[str, Any], _: int) -> Reply:
    if body["max_tokens"] > 1:
        return letters(0.8)
    opening = {"token": "Option", "logprob": -0.1, "bytes": None}
    return completion("Option", logprobs={"content": [{**opening, "top_logprobs": [opening]}], "refusal": None})


def answers(reply: Reply) -> Script:
    return lambda *_: reply


@pytest.mark.parametrize("script", [
    answers(letters(0.8)), wants_five, knows_no_logprobs, forgets_logprobs, is_newer, begins_with_a_word])
async def test_all_ask_in_the_same_words_and_come_to_a_letter(
        script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[dict[str, Any]]] = []
    for client in (bulk, connection):
        with serving(script) as server:
            assert await client(server.base_url) == Outcome("", True, "judge-7b")
        asked.append([{name: value for name, value in body.items() if name != "n"} for body in server.requests])
        assert set(server.keys) == {f"Bearer {KEY}"}
    assert asked[0] == asked[1]
    with batches(monkeypatch) as by_batch:
        by_batch.script = lambda body, _: script(body, 1)
        judge = BatchJudge(settings(by_batch.base_url), KEY, OPEN, tmp_path)
        [verdict] = await judge.compare([QUESTION])
    assert (verdict.error, verdict.tokens > 0, verdict.model) == ("", True, "judge-7b")
    once = 1 if script is forgets_logprobs else len(asked[0])  # a batch counts the letter that it has paid for
    assert by_batch.requests == asked[0][:once] and set(by_batch.keys) == {f"Bearer {KEY}"}


REFUSED = {"choices": [{"message": {"content": None, "refusal": f"I cannot, {KEY}"}}], "model": "judge-7b"}


@pytest.mark.parametrize(("reply", "reason"), [
    (completion("I cannot judge that."), "neither A nor B"),
    (completion(f"My key is {KEY}"), "neither A nor B"),
    (Reply(200, REFUSED), "refused: I cannot, ***"),
    (Reply(200, {"choices": []}), "holds no answer"),
    (Reply(200, {"error": {"message": f"no, {KEY}"}}), "holds no answer"),
    (Reply(200, ["A"]), "holds no answer"),
    (Reply(200, None), "holds no answer"),
    (failure(400, f"the context is full, {KEY}"), "the context is full, ***"),
    (Reply(400, ["no"]), '["no"]'),
    (Reply(418, "a teapot"), "a teapot"),
    (Reply(422, {"detail": [{"msg": "no such field"}]}), "no such field"),
])
async def test_what_is_no_letter_has_the_same_reason_everywhere_and_not_the_key(
        reply: Reply, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = []
    for client in (bulk, connection):
        with serving(answers(reply)) as server:
            reasons.append((await client(server.base_url)).reason)
    with batches(monkeypatch) as by_batch:
        by_batch.script = lambda *_: reply
        [verdict] = await BatchJudge(settings(by_batch.base_url), KEY, OPEN, tmp_path).compare([QUESTION])
        reasons.append(verdict.error)
    assert [reason in words for words in reasons] == [True] * 3, reasons
    assert not any(KEY in words for words in reasons)


@clients
@pytest.mark.parametrize(("reply", "reason"), [
    (failure(401, f"Incorrect API key provided: {KEY}"), "refused the key"),
    (failure(403, f"Not for {KEY}"), "refused the key"),
    (failure(404, "no such model"), "knows no model 'judge-7b'"),
    (failure(429, f"You have no credit, {KEY}", code="insufficient_quota"), "no credit left"),
    (failure(500, f"oh no, {KEY}"), "oh no, ***"),
    (Reply(503, b"\xff\xfe", {"Content-Type": "application/octet-stream"}), "HTTP 503"),
    (Reply(200, b"<html>hello</html>", {"Content-Type": "text/html"}), "not JSON: '<html>hello</html>'"),
    (Reply(200, b'{"choices": [{"mess', {}), "not JSON"),
    (Reply(200, b"", {}), "not JSON, but empty"),
])
async def test_what_hinders_is_told_with_its_reason_and_without_the_key(
        client: Client, reply: Reply, reason: str) -> None:
    with serving(answers(reply)) as server:
        outcome = await client(server.base_url)
    assert reason in outcome.reason and KEY not in outcome.reason


@clients
async def test_a_redirect_is_not_followed(client: Client) -> None:
    with serving(answers(letters(0.8))) as other:
        elsewhere = Reply(307, {}, {"Location": f"{other.base_url}/chat/completions"})
        with serving(answers(elsewhere)) as server:
            assert "sends its callers elsewhere" in (await client(server.base_url)).reason
    assert other.requests == []


@clients
async def test_a_judge_inside_the_network_is_not_asked_unless_it_was_listed(client: Client) -> None:
    with serving(answers(letters(0.8))) as server:
        assert "inside a private network" in (await client(server.base_url, guard=AddressGuard())).reason
    assert server.requests == []


@clients
async def test_a_server_that_is_not_there_is_named(client: Client) -> None:
    assert "cannot be reached" in (await client("http://127.0.0.1:9/v1")).reason


@clients
async def test_openai_without_a_key_is_not_asked(client: Client) -> None:
    assert "none is set" in (await client("https://api.openai.com/v1", key="")).reason


@clients
async def test_nothing_of_this_machine_reaches_anothers_server(
        client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "ours-alone")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with serving(answers(letters(0.8))) as server:
        assert (await client(server.base_url, key="")).reason == ""
    assert not any("ours-alone" in value for headers in server.headers for value in headers.values())


@clients
async def test_a_reply_counts_by_what_it_says_and_not_by_what_it_calls_itself(client: Client) -> None:
    with serving(answers(letters(0.8)._replace(headers={"Content-Type": "text/plain"}))) as server:
        assert (await client(server.base_url)).reason == ""
