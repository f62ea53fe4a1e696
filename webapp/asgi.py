"""The one port: Django, the live sockets, and the playground's pane, which also hears when the server starts and ends.

daphne and Twisted must never be imported here: Gradio's components break when they are.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django = get_asgi_application()

from webapp.body_limit import BodyLimit  # noqa: E402
from webapp.runs.live.routing import sockets  # noqa: E402

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PANE = "/playground/pane"
site = BodyLimit(django)  # type: ignore[arg-type]


def _pane() -> Application | None:
    if importlib.util.find_spec("webapp.playground.pane") is None:
        return None
    from webapp.playground.pane import application as pane

    return pane


pane = _pane()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    kind, path = scope["type"], scope.get("path", "")
    if kind == "lifespan":
        await (pane or _alive)(scope, receive, send)
    elif pane is not None and (path == PANE or path.startswith(f"{PANE}/")):
        await pane(scope, receive, send)
    elif kind == "websocket":
        await sockets(scope, receive, send)
    else:
        await site(scope, receive, send)


async def _alive(scope: Scope, receive: Receive, send: Send) -> None:
    """The lifespan handler when there is no pane: it has nothing to start or stop."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
