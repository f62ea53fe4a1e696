"""Decides which worker runs a stage. A claim is a conditional update; a lease is a token in the row, which is renewed.

The broker may deliver a task twice, or never; the database decides which worker has the stage. A worker whose token is
no longer in the row stops at once and writes nothing more.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F
from django.utils import timezone

from webapp.runs.models import Stage
from webapp.runs.waiting import takeable

HOST = socket.gethostname()[:200]
LOOK = 0.5  # seconds between two reads of the row: how soon a cancelled stage stops
DB_DOWN = (OperationalError, InterfaceError)  # the database is unreachable, full or busy: this may pass

logger = logging.getLogger("concord.workers")
T = TypeVar("T")


def claim_next(queue: str) -> Stage | None:
    """Claim the first stage that a worker of this queue may take. Returns None if there is none, as after a second
    delivery of a message."""
    while (first := takeable(queue).values_list("stage_id", flat=True).first()) is not None:
        if (stage := claim(first)) is not None:
            return stage
    return None


def claim(stage_id: int) -> Stage | None:
    """Claim a queued stage. Returns None if it is not queued any more: another worker was faster."""
    token, now = secrets.token_hex(16), timezone.now()
    claimed = Stage.objects.filter(pk=stage_id, status=Stage.Status.QUEUED).update(
        status=Stage.Status.RUNNING, lease_token=token, lease_until=now + timedelta(seconds=settings.LEASE_SECONDS),
        attempt=F("attempt") + 1, stop_requested=False, started_at=now, finished_at=None, eta_seconds=None,
        locked_until=None)
    return Stage.objects.get(pk=stage_id, lease_token=token) if claimed else None


def retry_while_db_is_down(call: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """Call, and retry while the database is unavailable. Once `give_up` returns True, the error is raised."""
    wait = 0.2
    while True:
        try:
            return call()
        except DB_DOWN as error:
            connection.close()  # the next query opens a new one
            if give_up():
                raise
            logger.warning("the database cannot be reached, trying again: %s", error)
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


class Lease:
    """Renews the lease of a claimed stage in a separate thread, and notices there that the stage should stop."""

    def __init__(self, stage: Stage) -> None:
        self.token = stage.lease_token
        self.lost = threading.Event()
        self.stop = threading.Event()
        self._ours = Stage.objects.filter(pk=stage.pk, lease_token=self.token, status=Stage.Status.RUNNING)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{stage.pk}", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join(timeout=10)

    def write(self, **changes: object) -> bool:
        """Update the stage's row if this worker still has the lease."""
        return self._ours.update(**changes) == 1

    def release(self, **changes: object) -> bool:
        """Update the row and release the lease. Returns False, without a change, if this worker no longer has it."""
        return self.write(lease_token="", lease_until=None, pid=None, eta_seconds=None, **changes)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._done.wait(LOOK):
            try:
                stop_requested = self._ours.values_list("stop_requested", flat=True).first()
                if stop_requested and not self._done.is_set():
                    self.stop.set()
                is_ours = stop_requested is not None
                if is_ours and time.monotonic() - renewed > settings.LEASE_SECONDS / 5:
                    until = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
                    is_ours = self.write(lease_until=until)
                    renewed = time.monotonic()
            except DB_DOWN:
                connection.close()
                continue
            if not is_ours:
                self.lost.set()
                break
        connection.close()
