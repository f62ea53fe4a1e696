"""Many people chat with the inference worker at the same time: the demo world's own policy, one batch, a real Redis."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from training.models.chat import ChatPolicy
from training.models.chat_batch import ChatBatch
from webapp.playground.stream import ChatSampling, Request, cancel_key, stream_key
from workers import inference
from workers.loaded_models import Loaded

DEMO = {"stage": None, "sft": None, "base": "demo-world"}
QUESTIONS = ("What is the capital of Avela?", "Hello!", "Who is the keeper of Brisk?", "Is the flag of Elsby red?")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as connected:
        yield connected


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> ChatBatch:
    """The demo world's base, loaded by a worker that has warmed up; eight chats may be answered at once."""
    monkeypatch.setattr(inference, "_loaded", Loaded())
    monkeypatch.setattr(inference, "_chats", inference.new_queue(8))
    inference._warm_up()
    key = inference._base_key("demo-world", inference._device("auto"), "fp32")
    loaded: ChatBatch = inference._loaded.get(key, lambda: pytest.fail("the demo policy is not loaded"))
    return loaded


@pytest.fixture
def go_on(batch: ChatBatch, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nobody gets a token before this event is set."""
    go_on, advance = threading.Event(), batch.advance

    def when_let_go() -> None:
        go_on.wait(20)
        advance()

    monkeypatch.setattr(batch, "advance", when_let_go)
    yield go_on
    go_on.set()


def asking(number: int, **sampling: Any) -> Request:
    dialogue = [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]
    return Request(team=1, policies=[DEMO, DEMO], dialogues=[dialogue, dialogue], scorer=None,
                   sampling=ChatSampling(**({"max_new_tokens": 24, "seed": number} | sampling)))


def events_of(client: redis.Redis, request: Request) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in client.xrange(stream_key(request.id))]


def kinds(client: redis.Redis, request: Request) -> list[str]:
    return [event["kind"] for event in events_of(client, request)]


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def alone(request: Request) -> str:
    sampling = request.sampling
    return "".join(ChatPolicy.load("demo-world").stream(
        request.dialogues[0], sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.seed))


def test_eight_chats_are_answered_in_one_batch_and_a_ninth_waits(
    client: redis.Redis, batch: ChatBatch, go_on: threading.Event,
) -> None:
    rows: list[int] = []
    batch._lora.language.model.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    requests = [asking(number) for number in range(9)]
    for request in requests:
        inference.chat(request.as_json())
    until(lambda: len(batch._arriving) == 16)
    assert [kinds(client, request) for request in requests] == [["started"]] * 8 + [["started", "waiting"]]
    go_on.set()
    until(lambda: all(kinds(client, request)[-1] == "finished" for request in requests))
    assert max(rows) == 16, "both sides of all eight in one step"
    for request in requests:
        answers = [event["text"] for event in events_of(client, request) if event["kind"] == "answer"]
        assert answers == [alone(request)] * 2


def test_whoever_stops_leaves_the_batch_and_whoever_fails_disturbs_nobody(
    client: redis.Redis, batch: ChatBatch, go_on: threading.Event,
) -> None:
    stopped, too_long, going = asking(0), asking(1, max_new_tokens=100_000), asking(2)
    for request in (stopped, too_long, going):
        inference.chat(request.as_json())
    until(lambda: len(batch._arriving) == 4)
    rows = list(batch._arriving)
    client.set(cancel_key(stopped.id), 1)
    until(lambda: kinds(client, stopped)[-1] == "finished")
    assert events_of(client, stopped)[-1]["cancelled"]
    go_on.set()
    until(lambda: kinds(client, going)[-1] == "finished")
    assert "tokens" in events_of(client, too_long)[-1]["cause"]
    assert kinds(client, too_long)[-1] == "failed"
    assert [event["text"] for event in events_of(client, going) if event["kind"] == "answer"] == [alone(going)] * 2
    until(lambda: batch.is_idle)
    assert [row.tokens == 0 for row in rows].count(True) == 2, "nothing was drawn for those who had left"


def test_after_a_batch_has_broken_everyone_hears_it_and_the_next_chat_is_answered(
    client: redis.Redis, batch: ChatBatch, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, after = asking(0), asking(1)

    def fail() -> None:
        raise ValueError("a secret")

    with monkeypatch.context() as breaking:
        breaking.setattr(batch, "_step", fail)
        inference.chat(broken.as_json())
        until(lambda: len(batch._arriving) == 2)
        go_on.set()
        until(lambda: kinds(client, broken)[-1] == "failed")
    assert "secret" not in json.dumps(events_of(client, broken))
    inference.chat(after.as_json())
    until(lambda: kinds(client, after)[-1] == "finished")
    assert [event["text"] for event in events_of(client, after) if event["kind"] == "answer"] == [alone(after)] * 2
