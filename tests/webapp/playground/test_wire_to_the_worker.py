"""The stream between the page and the inference worker, through a real Redis or Valkey server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings

from webapp.playground import stream
from webapp.playground.chat_events import PROTOCOL
from webapp.playground.stream import ChatFailed, ChatSampling, ChatWriter, Request, cancel_key, stream_key


@pytest.fixture
def request_() -> Request:
    return Request(team=1, policies=[{}, {}], dialogues=[[], []], sampling=ChatSampling(), scorer=None)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as connected:
        yield connected


@pytest.fixture
def no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_send", lambda request: None)


async def events_of(request: Request) -> list[dict[str, Any]]:
    return [event async for event in stream.events(request)]


async def test_what_the_worker_writes_is_heard_in_order(no_task: None, request_: Request, client: redis.Redis) -> None:
    writer = ChatWriter(client, request_.id)
    listening = asyncio.create_task(events_of(request_))
    await asyncio.sleep(0.05)
    for number in range(50):
        writer.emit({"kind": "piece", "side": number % 2, "text": f"{number} “ü”"})
    writer.emit({"kind": "finished", "cancelled": False})
    events = await asyncio.wait_for(listening, 5)
    assert [event["text"] for event in events[:-1]] == [f"{number} “ü”" for number in range(50)]
    assert events[-1]["kind"] == "finished"
    assert 0 < client.ttl(stream_key(request_.id)) <= 600
    assert not client.exists(cancel_key(request_.id)), "a chat that has ended is not cancelled"


async def test_a_closed_page_cancels_its_chat(no_task: None, request_: Request, client: redis.Redis) -> None:
    writer = ChatWriter(client, request_.id)
    writer.emit({"kind": "started", "protocol": PROTOCOL})
    listening = stream.events(request_)
    await anext(listening)
    assert not writer.cancelled()
    await listening.aclose()
    assert writer.cancelled()


@pytest.mark.parametrize("says", [{}, {"protocol": 1}])
async def test_a_worker_that_says_no_version_speaks_the_first(
    no_task: None, request_: Request, client: redis.Redis, says: dict[str, int],
) -> None:
    writer = ChatWriter(client, request_.id)
    writer.emit({"kind": "started", **says})  # type: ignore[typeddict-item]
    writer.emit({"kind": "finished", "cancelled": False})
    assert [event["kind"] for event in await events_of(request_)] == ["started", "finished"]


async def test_a_worker_of_another_version_is_not_misread(
    no_task: None, request_: Request, client: redis.Redis,
) -> None:
    writer = ChatWriter(client, request_.id)
    writer.emit({"kind": "started", "protocol": PROTOCOL + 1})
    with pytest.raises(ChatFailed, match="another version"):
        await events_of(request_)
    assert writer.cancelled()


async def test_without_a_worker_it_says_so_within_seconds(
    request_: Request, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WORKER_PATIENCE", 0.2)
    with pytest.raises(ChatFailed, match="inference worker is not running") as failure:
        await asyncio.wait_for(events_of(request_), 10)
    assert "manage.py up" in failure.value.remedy
    assert client.exists(cancel_key(request_.id)), "a worker that starts later does not answer nobody"
    client.delete(stream.QUEUE)


async def test_without_a_server_it_says_so(request_: Request, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    monkeypatch.setattr(stream, "_send", lambda request: None)
    with pytest.raises(ChatFailed, match="does not answer"):
        await events_of(request_)


def test_a_request_survives_its_way_through_json(request_: Request) -> None:
    assert Request.from_json(request_.as_json()) == request_
