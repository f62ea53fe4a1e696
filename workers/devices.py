"""A worker that trains tells the web what it computes on, when it starts and whenever it takes a stage."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from celery.signals import worker_ready
from django.db import connection

from training.run.device import Device, this_device
from webapp.runs.devices import device_report
from webapp.runs.models import Stage
from workers.leases import DB_DOWN, HOST

logger = logging.getLogger("concord.workers")


@cache
def own_device() -> Device:
    """Asked once: a worker keeps its GPU. Nothing here touches CUDA, so that stages may still be forked."""
    return this_device()


def report() -> None:
    """Say what this worker computes on; it says so again at its next stage if the database cannot be reached."""
    try:
        device_report(host=HOST, device=own_device())
    except DB_DOWN as error:
        logger.warning("could not report this worker's device: %s", error)


@worker_ready.connect
def _report_at_start(sender: Any, **_: object) -> None:
    if Stage.Queue.GPU in sender.app.amqp.queues.consume_from:
        report()
        connection.close()
