"""Notifies viewers that a run has changed. A notification names the run and carries no data.

One thread per process keeps one connection to the channel layer. Notifications that come faster than it sends them
are merged. An unreachable layer delays a viewer by a second (the hub also polls) and never delays the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from functools import partial

from channels.layers import get_channel_layer
from django.db import transaction

from webapp.runs.live.messages import RUN_CHANGED

SECONDS = 2.0  # at most for one notification
logger = logging.getLogger("concord.notifications")


def notify_run_changed(*, runs: Iterable[int], team: int) -> None:
    """After the current transaction: a `RunChanged` to each run's group and to the team's."""
    groups = {f"run.{run}" for run in runs} | {f"runs.team.{team}"}
    transaction.on_commit(partial(_notifier().notify, groups), robust=True)


class _Notifier:
    """A thread with an event loop: the layer keeps its connections by loop, so one loop means one connection."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._guard = threading.Lock()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="notifications", daemon=True).start()

    def notify(self, groups: set[str]) -> None:
        with self._guard:
            idle = not self._waiting
            self._waiting |= groups
        if idle:
            asyncio.run_coroutine_threadsafe(self._send(), self._loop)

    async def _send(self) -> None:
        with self._guard:
            groups, self._waiting = self._waiting, set()
        layer = get_channel_layer()
        for group in sorted(groups):
            try:
                await asyncio.wait_for(layer.group_send(group, RUN_CHANGED), SECONDS)
            except Exception as error:  # whatever a layer raises: the recorder must not wait for it
                logger.debug("no notification to %s: %s", group, error)


_guard = threading.Lock()
_made: dict[int, _Notifier] = {}


def _notifier() -> _Notifier:
    """This process's notifier; a forked child makes its own."""
    with _guard:
        with contextlib.suppress(KeyError):
            return _made[os.getpid()]
        return _made.setdefault(os.getpid(), _Notifier())
