"""Addresses of sockets, and what stands in front of them: who asks, from a cookie that a database can look up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from channels.auth import AuthMiddleware
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.urls import re_path

from training.text import storable
from webapp.runs.live.consumers import NOT_FOUND, RunConsumer

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]


class StorableCookies:
    """A session's key with a character that no database holds finds nothing, as it does on pages."""

    def __init__(self, inner: Callable[..., Awaitable[None]]) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies = {name: storable(value) for name, value in scope["cookies"].items()}
        await self._inner({**scope, "cookies": cookies}, receive, send)


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Closes a socket at an address that is none."""
    await send({"type": "websocket.close", "code": NOT_FOUND})


websocket_urlpatterns = [re_path(r"^ws/runs/(?P<pk>\d{1,18})/$", RunConsumer.as_asgi()),
                         re_path("", nowhere)]  # type: ignore[arg-type]
sockets = AllowedHostsOriginValidator(CookieMiddleware(StorableCookies(SessionMiddleware(AuthMiddleware(
    URLRouter(websocket_urlpatterns))))))
