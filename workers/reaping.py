"""Requeues stages whose lease expired, resends lost messages, and advances runs that were missed.

Every worker process does this in a separate thread, so that stages and chats in its other threads cannot block it, and
one running worker is enough.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ParamSpec

from celery.signals import worker_ready, worker_shutting_down
from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils import timezone
from kombu.exceptions import ChannelError, OperationalError

from webapp.arena.answering import answers_send_again
from webapp.calibration.services import checks_send_again
from webapp.celery import app
from webapp.datasets.computing import computations_send_again
from webapp.datasets.services import imports_requeue
from webapp.fronts.services import fronts_send_again
from webapp.judges.comparisons import comparisons_send_again
from webapp.labels import bulk
from webapp.runs.head_to_head.services import head_to_heads_send_again
from webapp.runs.models import Run, RunStage, Stage
from webapp.runs.scheduling import advance, advance_users, enqueue
from webapp.runs.waiting import takeable
from webapp.sweeps.services import sweeps_advance
from workers.leases import DB_DOWN
from workers.processes import last_lines
from workers.supervisor import MOST_CRASHES

PERIOD = 5.0  # seconds between two rounds of a worker
UNCLAIMED = timedelta(seconds=5)
S = Stage.Status
logger = logging.getLogger("concord.workers")
P = ParamSpec("P")


def reap() -> None:
    """Run one round. Any number of workers may call this every few seconds: each change is made by one of them.

    A failure for one stage or run is logged, and the others are still handled.
    """
    _try(_let_go)
    for stage in _without_heartbeat():
        _try(_take_back, stage)
    for work in (_send_again, imports_requeue, computations_send_again, bulk.send_again,
                 comparisons_send_again, checks_send_again, answers_send_again, head_to_heads_send_again,
                 fronts_send_again):
        _try(work)
    busy = Stage.objects.filter(status__in=[S.QUEUED, S.RUNNING]).values("uses__run")
    for run in Run.objects.filter(status=Run.Status.RUNNING).exclude(pk__in=busy.filter(uses__run__isnull=False)):
        _try(lambda run: advance(run=run), run)
    _try(sweeps_advance)


def _try(work: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
    """Call a function and log its error; an unavailable database is raised and ends the round."""
    try:
        work(*arguments, **named)
    except DB_DOWN:
        raise
    except Exception:
        logger.exception("reaping: %s %s", getattr(work, "__name__", work), arguments)


class Reaper(threading.Thread):
    """Calls `reap` every few seconds until it is stopped. An unavailable database is logged, and the round skipped."""

    def __init__(self, period: float = PERIOD) -> None:
        super().__init__(name="reaper", daemon=True)
        self._period = period
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(self._period):
            try:
                reap()
            except Exception:
                logger.exception("reaping failed, next try in %g s", self._period)
            finally:
                connection.close()

    def stop(self) -> None:
        self._done.set()


_reaper = Reaper()


@worker_ready.connect
def _start_reaping(**_: object) -> None:
    _reaper.start()


@worker_shutting_down.connect
def _stop_reaping(**_: object) -> None:
    _reaper.stop()


# Each running stage's lease as first seen here, and the time by this process's monotonic clock.
_leases: dict[int, tuple[tuple[str, datetime | None], float]] = {}


def _without_heartbeat() -> list[Stage]:
    """Running stages whose lease has expired, or was not renewed for twice its duration by this process's own clock: a
    lease that was written before the system clock was set back would otherwise stay valid for hours."""
    running = list(Stage.objects.filter(status=S.RUNNING))
    now, patience = time.monotonic(), 2 * settings.LEASE_SECONDS
    for pk in _leases.keys() - {stage.pk for stage in running}:
        del _leases[pk]
    silent = []
    for stage in running:
        lease = (stage.lease_token, stage.lease_until)
        known_lease, since = _leases.get(stage.pk, (None, now))
        if known_lease != lease:
            _leases[stage.pk], since = (lease, now), now
        if (stage.lease_until is not None and stage.lease_until < timezone.now()) or now - since > patience:
            silent.append(stage)
    return silent


def _take_back(stage: Stage) -> None:
    """Queue a stage whose worker went silent; the third time, it fails instead. Its process id stays in the row, so
    that the next attempt on that machine ends a leftover process."""
    expired = Stage.objects.filter(pk=stage.pk, status=S.RUNNING, lease_token=stage.lease_token,
                                   lease_until=stage.lease_until)
    crashes, now = stage.crashes + 1, timezone.now()
    let_go = {"lease_token": "", "lease_until": None, "crashes": crashes, "eta_seconds": None}
    if stage.stop_requested:  # it was cancelled while it had no worker
        expired.filter(stop_requested=True).update(status=S.STOPPED, finished_at=now, **let_go)
    elif crashes < MOST_CRASHES:
        if not expired.update(status=S.QUEUED, queued_at=now, **let_go):
            return
        logger.warning("%s lost its worker and was requeued", stage)
        enqueue(stage)
    else:
        expired.update(
            status=S.FAILED, finished_at=now, failure_kind="worker lost",
            cause=f"The worker that ran this stage stopped responding {crashes} times.",
            remedy="Check the workers' log and the machine's memory, then resume: it continues from its last "
                   "checkpoint.",
            details=last_lines(stage.folder / "output.log"), **let_go)
    advance_users(stage)


def _let_go() -> None:
    """Stop queued stages that no active run uses any more: a worker that ended gave one back after its run was
    cancelled. Such a stage would wait in the queue for ever; a run that needs it revives it."""
    wanted = RunStage.objects.filter(stage=OuterRef("pk"), run__status=Run.Status.RUNNING)
    Stage.objects.filter(~Exists(wanted), status=S.QUEUED).update(status=S.STOPPED)


def _send_again() -> None:
    """Send a message for each stage that a worker may take while its broker queue is empty: messages were lost.

    An extra message does no harm."""
    for queue in Stage.Queue.values:
        uses = takeable(queue).filter(stage__queued_at__lt=timezone.now() - UNCLAIMED).select_related("stage")
        unclaimed = {use.stage_id: use.stage for use in uses.defer("stage__settings", "stage__summary")}
        if unclaimed and _is_empty(queue):
            for stage in unclaimed.values():
                enqueue(stage)


def _is_empty(queue: str) -> bool:
    try:
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return bool(channel.queue_declare(queue, passive=True).message_count == 0)
    except ChannelError:  # nothing was ever sent there
        return True
    except OperationalError:
        return False
