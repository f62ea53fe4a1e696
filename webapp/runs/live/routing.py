"""The routes of sockets, and the middleware in front of them that identifies the user."""

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
    """Replaces characters in cookies that a database cannot store; such a session key then matches nothing."""

    def __init__(self, inner: Callable[..., Awaitable[None]]) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookies = {name: storable(value) for name, value in scope["cookies"].items()}
        await self._inner({**scope, "cookies": cookies}, receive, send)


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Closes a socket at an unknown address."""
    await send({"type": "websocket.close", "code": NOT_FOUND})


websocket_urlpatterns = [re_path(r"^ws/runs/(?P<pk>\d{1,18})/$", RunConsumer.as_asgi()),
                         re_path("", nowhere)]  # type: ignore[arg-type]
sockets = AllowedHostsOriginValidator(CookieMiddleware(StorableCookies(SessionMiddleware(AuthMiddleware(
    URLRouter(websocket_urlpatterns))))))
