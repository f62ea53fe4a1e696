"""One hub per web process: it reads and encodes new data of a watched run once, and sends it to every viewer.

A notification on the channel layer ("run R has changed") makes it read at once. It also reads every second, so that a
lost notification, or a Redis that is down, delays a number by a second and never loses one. It reads a run at most four
times per second, so a viewer gets at most four messages per second. The hub does not wait for slow viewers: each queue
is bounded, and a viewer whose queue is full gets a message to start over from a snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import connection

from webapp.runs.live.audience import Watcher, still_allowed
from webapp.runs.live.changes import CursorExpired, Position, position_now, read_changes
from webapp.runs.live.messages import encode

PERIOD = 0.25  # seconds between two looks at a run
POLL = 1.0
QUEUE = 32
RESYNC = encode({"type": "resync"})
EXPELLED = ""  # queued instead of a message: the viewer has lost access
MOST_WAIT = 30.0

logger = logging.getLogger("concord.live")
P = ParamSpec("P")
T = TypeVar("T")


class Viewer:
    """One socket's bounded queue of encoded messages."""

    def __init__(self, watcher: Watcher, size: int = QUEUE) -> None:
        self.watcher = watcher
        self._queue: asyncio.Queue[str] = asyncio.Queue(size)
        self._held: list[str] | None = None

    def hold(self) -> None:
        """Hold back new messages until the viewer has received the earlier ones."""
        self._held = []

    def release(self, first: str) -> None:
        later, self._held = self._held or [], None
        for text in [first, *later]:
            self.put(text)

    def put(self, text: str) -> None:
        """Queue a message. A full queue is replaced by one message to start over."""
        if self._held is not None:
            self._held.append(text)
            return
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            text = RESYNC
        self._queue.put_nowait(text)

    def expel(self) -> None:
        """Drop all queued messages, and have the viewer's socket closed."""
        self._held = None
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(EXPELLED)

    async def next(self) -> str:
        return await self._queue.get()


class Hub:
    """The watched runs of this process, and the one thread that reads the database for them."""

    def __init__(self) -> None:
        self._watches: dict[int, WatchedRun] = {}
        self._thread = ThreadPoolExecutor(1, "hub")

    async def watch(self, run_id: int, viewer: Viewer, since: Position) -> None:
        """Send the viewer everything since its position, and from then on all new data."""
        watch = self._watches.get(run_id)
        if watch is None:
            watch = self._watches[run_id] = WatchedRun(run_id, self)
        await watch.join(viewer, since)

    def leave(self, run_id: int, viewer: Viewer) -> None:
        watch = self._watches.get(run_id)
        if watch is not None and watch.leave(viewer):
            del self._watches[run_id]
            if not self._watches:
                self._thread.submit(connection.close)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a read in the hub's thread, which keeps its connection while it works."""

        def call() -> T:
            try:
                return function(*args, **kwargs)
            except CursorExpired:
                raise
            except Exception:
                connection.close()  # the next read gets a new one
                raise

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class WatchedRun:
    """One watched run: its viewers, its position, and two tasks, one that listens and one that reads."""

    def __init__(self, run_id: int, owner: Hub) -> None:
        self.run_id = run_id
        self._read = owner.read
        self._viewers: set[Viewer] = set()
        self._position: Position | None = None
        self._changed = asyncio.Event()
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False

    async def join(self, viewer: Viewer, since: Position) -> None:
        """Add a viewer. It is registered for new data before the past is read, so that nothing is missed."""
        viewer.hold()
        self._viewers.add(viewer)
        async with self._starting:
            if self._position is None:
                self._position = await self._read(position_now, self.run_id)
                self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._listen())]
        try:
            message = await self._read(read_changes, self.run_id, since)
            viewer.release(encode(message or {"type": "delta"}))
        except CursorExpired:
            viewer.release(RESYNC)

    def leave(self, viewer: Viewer) -> bool:
        """Remove a viewer. Returns whether it was the last one: then the tasks have been stopped."""
        self._viewers.discard(viewer)
        if self._viewers:
            return False
        self._ended = True  # a Redis client that is connecting may swallow the one cancellation below
        for task in self._tasks:
            task.cancel()
        return True

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        wait = POLL
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            self._changed.clear()
            looked = loop.time()
            try:
                await self._look()
                wait = POLL
            except Exception as error:  # the database may be unavailable; the viewers stay connected
                wait = min(wait * 2, MOST_WAIT)
                logger.warning("Run %s could not be read, next try in %.0f s: %s", self.run_id, wait, error)
            await asyncio.sleep(max(PERIOD - (loop.time() - looked), 0))

    async def _look(self) -> None:
        assert self._position is not None  # `join` has set it before it started this
        try:
            message = await self._read(read_changes, self.run_id, self._position)
            text = encode(message) if message else None
        except CursorExpired:
            self._position = await self._read(position_now, self.run_id)
            text = RESYNC
        checked = {viewer.watcher for viewer in self._viewers}  # who joins meanwhile was checked by its own socket
        allowed = await self._read(still_allowed, self.run_id, checked)
        for viewer in list(self._viewers):
            if viewer.watcher in checked - allowed:
                self._viewers.discard(viewer)
                viewer.expel()
            elif text is not None:
                viewer.put(text)

    async def _listen(self) -> None:
        """Wake `_follow` at every notification. Without Redis, `_follow` still reads every second."""
        wait = 0.5
        while not self._ended:
            layer, channel = get_channel_layer(), ""
            try:
                channel = await layer.new_channel()
                await layer.group_add(f"run.{self.run_id}", channel)
                wait = 0.5
                self._changed.set()
                while not self._ended:
                    await layer.receive(channel)
                    self._changed.set()
            except Exception as error:
                logger.warning("No live channel for run %s, next try in %.1f s: %s", self.run_id, wait, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, MOST_WAIT)
            finally:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(layer.group_discard(f"run.{self.run_id}", channel), 2)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of this process (of its event loop: a process has one, tests have many)."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
