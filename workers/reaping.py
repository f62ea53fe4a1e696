"""What nobody holds any more goes on: expired leases, lost messages, runs that nobody advanced."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from kombu.exceptions import ChannelError, OperationalError

from webapp.celery import app
from webapp.datasets.services import imports_send_again
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import GPU, IO, advance, advance_users, enqueue, queue_of
from workers.processes import last_lines
from workers.supervisor import MOST_CRASHES

UNCLAIMED = timedelta(seconds=5)
S = Stage.Status
logger = logging.getLogger("concord.workers")


def reap() -> None:
    """Called every few seconds by any number of workers: each change is made by one of them."""
    for stage in Stage.objects.filter(status=S.RUNNING, lease_until__lt=timezone.now()):
        _take_back(stage)
    _send_again()
    imports_send_again()
    busy = Stage.objects.filter(status__in=[S.QUEUED, S.RUNNING]).values("uses__run")
    for run in Run.objects.filter(status=Run.Status.RUNNING).exclude(pk__in=busy.filter(uses__run__isnull=False)):
        advance(run=run)


@transaction.atomic
def _take_back(stage: Stage) -> None:
    """Queue a stage whose worker went silent; the third time, let a person look. Its process id stays in the row: the
    next attempt on that machine ends what may still run of it."""
    expired = Stage.objects.filter(pk=stage.pk, status=S.RUNNING, lease_token=stage.lease_token,
                                   lease_until=stage.lease_until)
    crashes, now = stage.crashes + 1, timezone.now()
    let_go = {"lease_token": "", "lease_until": None, "crashes": crashes, "eta_seconds": None}
    if crashes < MOST_CRASHES:
        if not expired.update(status=S.QUEUED, queued_at=now, **let_go):
            return
        logger.warning("%s lost its worker and is queued again", stage)
        enqueue(stage)
    else:
        expired.update(
            status=S.FAILED, finished_at=now, failure_kind="worker lost",
            cause=f"The worker that ran this stage went silent {crashes} times.",
            remedy="Look at the workers' log and at the machine's memory, then resume: it goes on from its last "
                   "checkpoint.",
            details=last_lines(stage.folder / "output.log"), **let_go)
    advance_users(stage)


def _send_again() -> None:
    """Where a queue is empty and stages wait in it, their messages were lost. A message too many does no harm."""
    waiting = Stage.objects.filter(status=S.QUEUED, queued_at__lt=timezone.now() - UNCLAIMED).order_by("queued_at")
    stages = list(waiting.only("pk", "kind", "settings"))
    for queue in (IO, GPU):
        unclaimed = [stage for stage in stages if queue_of(stage) == queue]
        if unclaimed and _is_empty(queue):
            for stage in unclaimed:
                enqueue(stage)


def _is_empty(queue: str) -> bool:
    try:
        with app.connection_for_read() as connection:
            channel: Any = connection.default_channel
            return bool(channel.queue_declare(queue, passive=True).message_count == 0)
    except ChannelError:  # nothing was ever put there
        return True
    except OperationalError:
        return False
