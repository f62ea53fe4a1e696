"""The connection between a chat page and the inference worker: one task out, one Redis stream of events back.

The page sends `workers.chat` with a `Request` of ids and texts; the worker appends events, as `chat_events` has them,
to the stream `chat:<id>`.

Keys expire after ten minutes. Left out: continuing a chat after the page is closed; closing it cancels the chat.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

import redis
import redis.asyncio
from django.conf import settings

from training.dialogue import Dialogue
from webapp.playground.chat_events import LAST, PROTOCOL, ChatEvent

TASK, QUEUE = "workers.chat", "inference"
LIFETIME = 600  # seconds until a chat's keys expire
WORKER_PATIENCE = 3.0  # seconds of silence after which it is checked that a worker exists
OTHER_VERSION = "Install the same version for the web and the workers and restart them; then send the prompt again."
RESTART = "Start Concord again with `manage.py up`."
NO_WORKER = (
    "Start everything with `manage.py up`, or the worker alone with "
    "`celery -A webapp.celery worker -I workers.tasks -Q inference -P threads`; then send the prompt again."
)


class ChatFailed(Exception):
    """A chat that cannot continue, with cause and remedy."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause = cause
        self.remedy = remedy


@dataclass(frozen=True)
class ChatSampling:
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """The request to the worker: policies (`selectors.Policies.reference`), a dialogue for each, and the scorer."""

    team: int
    policies: list[dict[str, Any]]
    dialogues: list[Dialogue]
    sampling: ChatSampling
    scorer: int | None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Request:
        return cls(**(value | {"sampling": ChatSampling(**value["sampling"])}))


def stream_key(chat: str) -> str:
    return f"chat:{chat}"


def cancel_key(chat: str) -> str:
    return f"chat:{chat}:cancel"


class ChatWriter:
    """The worker's side: writes events to the stream."""

    def __init__(self, client: redis.Redis, chat: str) -> None:
        self._client = client
        self._chat = chat

    def emit(self, event: ChatEvent) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.xadd(stream_key(self._chat), {"event": json.dumps(event, ensure_ascii=False)})
        pipe.expire(stream_key(self._chat), LIFETIME)
        pipe.execute()

    def cancelled(self) -> bool:
        return bool(self._client.exists(cancel_key(self._chat)))


async def events(request: Request) -> AsyncGenerator[ChatEvent, None]:
    """Send the task and yield the worker's events. However this ends, a chat that is still running is cancelled.

    Raises:
        ChatFailed: Redis or the worker is unavailable, or the worker has another version.
    """
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2)
    over = False
    try:
        await asyncio.to_thread(_send, request)
        async for event in _read(client, request.id):
            over = event["kind"] in LAST
            yield event
    except redis.RedisError as error:
        raise ChatFailed("The Redis or Valkey server does not answer.", RESTART) from error
    finally:
        if not over:
            await asyncio.shield(cancel(request.id))
        await client.aclose()


async def cancel(chat: str) -> None:
    """Ask the worker to stop a chat; it does so before the next token."""
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2)
    try:
        await client.set(cancel_key(chat), 1, ex=LIFETIME)
    except redis.RedisError:
        return  # no server, no worker to stop
    finally:
        await client.aclose()


async def _read(client: redis.asyncio.Redis, chat: str) -> AsyncIterator[ChatEvent]:
    last, waiting_since, checked = "0", time.monotonic(), False
    while True:
        answer: Any = await client.xread({stream_key(chat): last}, count=200, block=500)
        for entry, fields in answer[0][1] if answer else ():
            last, waiting_since, checked = entry, time.monotonic(), True
            event: ChatEvent = json.loads(fields[b"event"])
            if event["kind"] == "started" and event.get("protocol", 1) != PROTOCOL:
                raise ChatFailed("The inference worker runs another version of Concord.", OTHER_VERSION)
            yield event
            if event["kind"] in LAST:
                return
        waited = time.monotonic() - waiting_since
        if not checked and waited > WORKER_PATIENCE:
            checked = True
            if not await asyncio.to_thread(_worker_listens):
                raise ChatFailed("The inference worker is not running.", NO_WORKER)
            yield {"kind": "waiting"}
        if waited > LIFETIME / 2:
            raise ChatFailed("The inference worker has not responded for 5 minutes.",
                             "Check its log, and restart it.")


def _send(request: Request) -> None:
    from kombu.exceptions import OperationalError

    from webapp.celery import app

    try:
        app.send_task(TASK, args=[request.as_json()], queue=QUEUE, expires=LIFETIME, retry=False)
    except OperationalError as error:
        raise ChatFailed("The message broker does not answer.", RESTART) from error


def _worker_listens() -> bool:
    """Whether any worker takes tasks from the inference queue; a busy one answers too."""
    from webapp.celery import app

    queues = app.control.inspect(timeout=1.5).active_queues() or {}
    return any(queue["name"] == QUEUE for worker in queues.values() for queue in worker)
