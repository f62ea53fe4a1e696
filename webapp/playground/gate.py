"""Access control in front of the Gradio pane: only team members, and only the paths that the pane needs.

Gradio's own `auth_dependency` does not cover its assets and some of its routes, and Django's middleware never sees
them. So this ASGI app reads the session itself, rejects users without access, refuses cross-site requests that carry a
member's cookie, and sets the pane's own Content-Security-Policy on each response. The policy needs 'unsafe-eval' for
Gradio's HTML component; it allows inline scripts only by their hashes, so an injected script never runs.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlencode, urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie
from django.http.request import split_domain_port, validate_host
from django.shortcuts import resolve_url

from training.text import unstorable_reason
from webapp.accounts.middleware import current_membership
from webapp.accounts.models import Membership, Role, User
from webapp.accounts.numbers import row_key
from webapp.playground.sessions import Sessions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/playground/pane"
CALLER = "concord.caller"  # the key of the caller in a request's scope
LONGEST_BODY = 256 * 1024
LOOK = 1.0  # seconds between two checks that a stream's reader still has access

# What the pane needs of Gradio; uploads, files, proxies, recordings and the rest stay shut.
_OPEN = re.compile(
    r"^/?$|^/(config|theme\.css|favicon\.ico|manifest\.json)/?$|^/(assets|static)/"
    r"|^/gradio_api/(queue/(join|data)|heartbeat/\w+|cancel|reset|info|app_id|startup-events|theme\.css)/?$"
)
_SAFE = {"GET", "HEAD", "OPTIONS"}
_INLINE = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'{hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Caller:
    """A logged-in user; `team` is None for one who belongs to no team."""

    user: int
    username: str
    team: int | None
    is_annotator: bool = False


class Gate:
    """Wraps the pane's app; see the module."""

    def __init__(self, pane: App) -> None:
        self._pane = pane
        self._sessions = Sessions()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # Gradio starts its queue in it
            await self._pane(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4403})
            return
        headers = _headers(scope)
        path = scope["path"].removeprefix(PREFIX)
        if not _host_allowed(headers):
            await _refuse(send, 400, "Unknown host name.")
            return
        caller = await database_sync_to_async(identify)(headers.get("cookie", ""))
        if caller is None:
            await _to_login(send) if path in {"", "/"} else await _refuse(send, 401, "Log in first.")
        elif caller.team is None:
            await _refuse(send, 403, "You are not in a team yet. Ask a member of your team to add you.")
        elif caller.is_annotator:
            await _refuse(send, 403, "The playground is for members. Annotators review what is assigned to them.")
        elif scope["method"] not in _SAFE and not _from_this_site(scope, headers):
            await _refuse(send, 403, "This request comes from another site.")
        elif not _OPEN.match(path):
            await _refuse(send, 404, "There is nothing here.")
        elif scope["method"] not in _SAFE and row_key(headers.get("content-length")) is None:
            await _refuse(send, 411, "The request does not state its length.")
        elif (row_key(headers.get("content-length")) or 0) > LONGEST_BODY:
            await _refuse(send, 413, "This request is too large.")
        else:
            await self._ask_whose({**scope, CALLER: caller}, path, receive, send)

    async def _ask_whose(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Pass on a request if its Gradio session belongs to the caller, and record the event that it starts."""
        user: int = scope[CALLER].user
        body = b"" if scope["method"] in _SAFE else await _body(receive)
        if body is None:
            await _refuse(send, 413, "This request is too large.")
            return
        try:
            may_pass = self._sessions.may_pass(user, path, scope.get("query_string", b"").decode("latin-1"), body)
        except ValueError:
            await _refuse(send, 400, "The body of the request is not a JSON object.")
            return
        if not may_pass:
            await _refuse(send, 403, "This session belongs to somebody else. Reload the page.")
        else:
            if scope["method"] not in _SAFE:
                receive = _replayed(body, receive)
            if path.rstrip("/") == "/gradio_api/queue/join":
                send = _heard(send, lambda answer: self._sessions.started(user, answer))
            await self._let_in(scope, receive, send, is_page=path in {"", "/"})

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, is_page: bool) -> None:
        if is_page:  # read as plain text, for the hashes of its scripts
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            page = _Page(send)
            await self._pane(scope, receive, page)
            await page.finish()
            return

        stream = _Stream(scope, receive, send)
        try:
            await self._pane(scope, stream.receive, stream.send)
        finally:
            stream.close()


class _Stream:
    """A response that may take minutes. The reader's access is checked repeatedly: after a log-out or after leaving
    the team the stream ends, and Gradio sees the same as when a browser disconnects."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._caller: Caller = scope[CALLER]
        self._cookies = _headers(scope).get("cookie", "")
        self._is_asset = scope["path"].removeprefix(PREFIX).startswith(("/assets/", "/static/"))
        self._receive, self._send = receive, send
        self._looked = asyncio.get_running_loop().time()
        self._gone: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._next: asyncio.Future[Message] | None = None  # outlives a `receive` that was cancelled: Starlette asks so

    async def receive(self) -> Message:
        self._next = self._next or asyncio.ensure_future(self._receive())
        if not self._next.done() and not self._gone.done():
            await asyncio.wait({self._next, self._gone}, return_when=asyncio.FIRST_COMPLETED)
        if self._gone.done():
            return self._gone.result()
        message, self._next = self._next.result(), None
        return message

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    async def send(self, message: Message) -> None:
        if self._gone.done():
            return
        if message["type"] == "http.response.start":
            message["headers"] = _with_guards(message.get("headers", []), "", is_private=not self._is_asset)
        elif message.get("more_body", False) and not await self._may_read_on():
            self._gone.set_result({"type": "http.disconnect"})
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _may_read_on(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._looked < LOOK:
            return True
        self._looked = now
        return await database_sync_to_async(_is_still)(self._caller, self._cookies)


class _Page:
    """Buffers an HTML page until it is complete, and adds the hashes of its inline scripts to the policy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    async def finish(self) -> None:
        if self._start is None:
            return
        digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in _INLINE.findall(self._body)]
        hashes = "".join(f" 'sha256-{digest}'" for digest in digests)
        guarded = _with_guards(self._start.get("headers", []), hashes, is_private=True)
        await self._send({**self._start, "headers": guarded})
        await self._send({"type": "http.response.body", "body": self._body})


async def _body(receive: Receive) -> bytes | None:
    """The whole body of a request; None if it is longer than allowed, whatever its headers say."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        if len(body) > LONGEST_BODY:
            return None
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body again, then the messages after it."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def _heard(send: Send, listen: Callable[[bytes], None]) -> Send:
    """A `send` that also passes the whole response to a listener."""
    parts: list[bytes] = []

    async def show(message: Message) -> None:
        if message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                listen(b"".join(parts))
        await send(message)

    return show


def identify(cookie_header: str) -> Caller | None:
    """The user of the session cookie, or None."""
    cookie = parse_cookie(cookie_header).get(settings.SESSION_COOKIE_NAME)
    if cookie is None or unstorable_reason(cookie):
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie)
    user = get_user(request)
    if not isinstance(user, User):
        return None
    request.user = user
    membership = current_membership(request)
    return Caller(user.pk, user.get_username(), membership.team_id if membership else None,
                  bool(membership and membership.is_annotator))


def _is_still(caller: Caller, cookie_header: str) -> bool:
    """Whether this session is still the caller's, and the caller still in the team."""
    now = identify(cookie_header)
    return now is not None and now.user == caller.user and Membership.objects.filter(
        user=caller.user, team=caller.team).exclude(role=Role.ANNOTATOR).exists()


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _host_allowed(headers: dict[str, str]) -> bool:
    domain, _ = split_domain_port(headers.get("host", ""))
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _from_this_site(scope: Scope, headers: dict[str, str]) -> bool:
    """Whether a request that changes something comes from our own pages, or not from a browser at all."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc == headers.get("host") or origin in settings.CSRF_TRUSTED_ORIGINS


def _with_guards(headers: list[tuple[bytes, bytes]], hashes: str, *, is_private: bool) -> list[tuple[bytes, bytes]]:
    """The response's headers without Gradio's cross-origin sharing, with the frame's protection, and with caching
    disabled for private content."""
    dropped = (b"access-control-", b"cache-control") if is_private else (b"access-control-",)
    passed = [(name, value) for name, value in headers if not name.lower().startswith(dropped)]
    return passed + [(b"cache-control", b"no-store")] * is_private + [
        (b"content-security-policy", _POLICY.format(hashes=hashes).encode()),
        (b"x-frame-options", b"SAMEORIGIN"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]


async def _to_login(send: Send) -> None:
    target = f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': '/playground/'})}"
    headers = [(b"location", target.encode()), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 302, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
                            (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]})
    await send({"type": "http.response.body", "body": body})
