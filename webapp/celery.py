"""The Celery app. The web sends tasks by name only; `workers.tasks` holds them (workers are started with `-I`)."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("concord")

JOBS = "jobs"  # the queue of short work that people wait for; stages have separate queues


def _settings() -> dict[str, object]:
    """Django's settings for Celery, read at first use, so that importing this module does not load them."""
    from django.conf import settings

    return {
        "broker_url": settings.BROKER_URL,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        # The database decides what runs: tasks are acknowledged before they start, so none is repeated by the broker.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "task_default_queue": "io",
        "task_routes": {"workers.chat": {"queue": "inference"}},
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {"visibility_timeout": 7 * 24 * 3600},
        "worker_hijack_root_logger": False,
        "timezone": "UTC",
    }


app.add_defaults(_settings)


def send(name: str, *args: object, queue: str) -> None:
    """Enqueue a task by its name once the current transaction has committed."""
    from django.db import transaction

    # Robust: an unavailable broker must not fail a committed request; `workers.reap` sends the task again.
    transaction.on_commit(lambda: app.send_task(name, args=args, queue=queue), robust=True)
