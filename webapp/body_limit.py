"""Limits the size of a request's body before any of it is stored, whatever its headers say.

Django reads a whole body, and writes a large one to disk, before it calls a view, for every method: a GET may have a
body too. So this ASGI wrapper runs before Django. It accepts small bodies from anybody, and files only at the upload
addresses and from team members.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.template.loader import render_to_string

from webapp.accounts.numbers import row_key
from webapp.playground.gate import identify

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SMALL = 3 * 1024 * 1024  # bytes: the largest form, and what Django keeps in memory
UPLOADS = ("/datasets/new/",)
ROOM_FOR_FIELDS = 64 * 1024  # bytes beside the file


class _TooLarge(Exception):
    """The body is longer than it may be."""


class BodyLimit:
    """Wraps an ASGI application; see the module."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = await _limit(scope)
        length = _header(scope, b"content-length")
        if length and (row_key(length) is None or int(length) > limit):
            await _refuse(send, limit)
            return
        began = False

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, _counted(receive, limit), watched)
        except _TooLarge:
            if not began:
                await _refuse(send, limit)


async def _limit(scope: Scope) -> int:
    """The number of bytes that this request may send. The user is looked up only at the upload addresses."""
    if scope["path"] not in UPLOADS or scope["method"] != "POST":
        return SMALL
    caller = await database_sync_to_async(identify)(_header(scope, b"cookie"))
    return SMALL if caller is None or caller.team is None else settings.UPLOAD_LIMIT_BYTES + ROOM_FOR_FIELDS


def _counted(receive: Receive, limit: int) -> Receive:
    taken = 0

    async def count() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _TooLarge
        return message

    return count


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


async def _refuse(send: Send, limit: int) -> None:
    page = render_to_string("413.html", {"most": f"{limit // 1024**2:,}", "is_upload": limit > SMALL})
    body = page.encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode()),
               (b"connection", b"close"), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"),
               (b"content-security-policy", b"default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
