"""The live socket of a run. The browser sends its position; the hub sends what is new.

Messages are defined in `webapp.runs.live.messages`. In: a `Subscribe`, after every snapshot and every reconnect. A
socket without one after half a minute is closed. Out: a `Hello`, then `Delta` and `Resync` messages. After a log-out or
after leaving the team, the socket is closed with code 4404 within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from webapp.runs.live.audience import Watcher, still_allowed
from webapp.runs.live.changes import position_from
from webapp.runs.live.hub import EXPELLED, Viewer, hub
from webapp.runs.live.messages import HELLO, encode

SEND_TIMEOUT = 10.0
PATIENCE = 30.0  # seconds within which the first message must arrive
LONGEST = 200_000  # characters a browser may send
NOT_FOUND, NOT_UNDERSTOOD, TOO_SLOW = 4404, 4400, 4408


class RunConsumer(AsyncWebsocketConsumer):
    channel_layer_alias = "none"  # the hub listens on the channel layer, once for all viewers

    async def connect(self) -> None:
        self.run_id = int(self.scope["url_route"]["kwargs"]["pk"])
        self.watcher = Watcher(self.scope["user"].pk or 0, self.scope["session"].session_key or "")
        self.viewer = Viewer(self.watcher)
        self.sender: asyncio.Task[None] | None = None
        self.silence: asyncio.Task[None] | None = None
        if await self._may_see():
            await self.accept()
            await self.send(text_data=encode(HELLO))
            self.silence = asyncio.create_task(self._close_if_silent())
        else:
            await self.close(NOT_FOUND)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self._stop_waiting()
        try:
            since = position_from(_since(text_data))
        except ValueError:
            return await self.close(NOT_UNDERSTOOD)
        if not await self._may_see():
            return await self.close(NOT_FOUND)
        await self._leave()
        self.viewer = Viewer(self.watcher)
        await hub().watch(self.run_id, self.viewer, since)
        self.sender = asyncio.create_task(self._forward(self.viewer))

    async def disconnect(self, code: int) -> None:
        self._stop_waiting()
        await self._leave()

    async def _forward(self, viewer: Viewer) -> None:
        """Send until the socket closes. A socket that accepts nothing for a while is closed to free its memory."""
        while True:
            text = await viewer.next()
            if text == EXPELLED:
                await self.close(NOT_FOUND)
                return
            try:
                await asyncio.wait_for(self.send(text_data=text), SEND_TIMEOUT)
            except TimeoutError:
                hub().leave(self.run_id, viewer)
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(self.close(TOO_SLOW), SEND_TIMEOUT)
                return

    async def _close_if_silent(self) -> None:
        await asyncio.sleep(PATIENCE)
        await self.close(TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self.silence is not None:
            self.silence.cancel()
            self.silence = None

    async def _leave(self) -> None:
        hub().leave(self.run_id, self.viewer)
        if self.sender is not None:
            self.sender.cancel()
            self.sender = None

    @database_sync_to_async
    def _may_see(self) -> bool:
        return bool(still_allowed(self.run_id, [self.watcher]))


def _since(text: str | None) -> Any:
    """The position in a message. Raises ValueError if there is none."""
    if not text or len(text) > LONGEST:
        raise ValueError("no message, or too long a one")
    try:
        body = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(body, dict) or "since" not in body:
        raise ValueError("no 'since'")
    return body["since"]
