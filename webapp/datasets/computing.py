"""Work on a dataset's rows by one worker at a time: claimed, with a heartbeat, ended by a result or an error in words.

As with an import, a worker that lost its claim stops, and what has no heartbeat is sent again, at most MAX_ATTEMPTS
times.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from training.data.lengths import TOKENIZER_FILE, Lengths, characters, tokens_of, words
from training.demo_world import WEIGHTS
from training.errors import ModelUnavailable, TrainingError
from training.text import storable
from webapp.celery import JOBS, send
from webapp.datasets.models import Computation, Curation, DatasetProfile

MAX_ATTEMPTS = 3
HEARTBEAT_TIMEOUT = timedelta(seconds=60)
WORDS, CHARACTERS, DEMO_WORLD = "words", "characters", "demo-world"
_SHOWN_FOLDERS = 100
C = TypeVar("C", bound=Computation)
logger = logging.getLogger("concord.datasets")


class _ClaimLost(Exception):
    """Somebody asked for something else, or another worker was faster."""


def compute(model: type[C], key: int, work: Callable[[C, Callable[[], None]], dict[str, Any]]) -> None:
    """Claim the row and store what `work` returns as its columns. Any problem becomes its `error`, except an
    unavailable database: then the claim times out and the work is sent again.

    Args:
        work: gets the row and a function to call at least every minute.
    """
    row = _claimed_row(model, key)
    if row is None:
        return
    mine: QuerySet[C] = model._default_manager.filter(pk=row.pk, status=Computation.Status.COMPUTING, claim=row.claim)

    def heartbeat() -> None:
        if not mine.update(heartbeat_at=timezone.now()):
            raise _ClaimLost

    try:
        result = work(row, heartbeat)
        mine.update(status=Computation.Status.DONE, claim="", **result)
    except _ClaimLost:
        return
    except TrainingError as problem:
        mine.update(status=Computation.Status.FAILED, claim="", error=storable(str(problem)))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("%s %s failed", model.__name__, key)
        text = storable(" ".join(str(error).split()))[:300]
        mine.update(status=Computation.Status.FAILED, claim="", error=(
            f"An unexpected error: {type(error).__name__}: {text}. See the workers' log for details, then try again."))


def _claimed_row(model: type[C], key: int) -> C | None:
    token = secrets.token_hex(16)
    free: QuerySet[C] = model._default_manager.filter(pk=key, status=Computation.Status.COMPUTING)
    if not free.filter(Q(claim="") | _silent()).update(
            claim=token, heartbeat_at=timezone.now(), attempts=F("attempts") + 1):
        return None
    row = free.filter(claim=token).first()
    if row is not None and row.attempts > MAX_ATTEMPTS:
        free.filter(claim=token).update(status=Computation.Status.FAILED, claim="", error=(
            f"The work stopped {MAX_ATTEMPTS} times without an error message: the worker was killed. Check the "
            "workers' log and the machine's memory, then try again."))
        return None
    return row


def computations_send_again() -> None:
    """Send again what has no worker because its message or its worker was lost. Called by every worker."""
    for model in (DatasetProfile, Curation):
        waiting = model._default_manager.filter(_silent(), status=Computation.Status.COMPUTING)
        for key in list(waiting.values_list("pk", flat=True)):
            if waiting.filter(pk=key).update(claim="", heartbeat_at=timezone.now()):
                send(model.TASK, key, queue=JOBS)


def _silent() -> Q:
    return Q(heartbeat_at__lt=timezone.now() - HEARTBEAT_TIMEOUT)


# What lengths are counted in ------------------------------------------------------------------------------------------


def units() -> dict[str, str]:
    """What lengths can be counted in, with a title: words, characters, and tokens of the models that are on this
    machine. Nothing is downloaded."""
    home = settings.VAR / "models"
    folders = sorted(file.parent.relative_to(home).as_posix() for pattern in (f"*/{TOKENIZER_FILE}",
                     f"*/*/{TOKENIZER_FILE}") for file in home.glob(pattern)) if home.is_dir() else []
    return {WORDS: "words", CHARACTERS: "characters", DEMO_WORLD: "tokens of the demo world"} | {
        name: f"tokens of {name}" for name in folders[:_SHOWN_FOLDERS]
        if not name.startswith(".") and name not in (WORDS, CHARACTERS, DEMO_WORLD)}


def unit_title(unit: str) -> str:
    """A unit in words, also when its model has gone."""
    known = {WORDS: "words", CHARACTERS: "characters", DEMO_WORLD: "tokens of the demo world"}
    return known.get(unit, f"tokens of {unit}")


def lengths_in(unit: str) -> Lengths:
    """How lengths are counted in a unit.

    Raises:
        ModelUnavailable: its model is no longer in the folder of models.
    """
    if unit == WORDS:
        return words
    if unit == CHARACTERS:
        return characters
    if unit not in units():
        raise ModelUnavailable(f"The folder of models has no tokenizer of '{unit}'.", "Choose another, or count words.")
    return tokens_of(WEIGHTS if unit == DEMO_WORLD else settings.VAR / "models" / unit)
