"""Measuring responses while a person waits: as many as there is time for.

A measure of an installed package may take any time for one response, and nothing in Python stops a function from
outside. So measures work in a thread of their own: it ends at the first response after the time is over, and until then
the page goes on without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from training.dialogue import Dialogue
from training.errors import MeasureFailed
from training.measures import MeasureFunction

_AT_ONCE = threading.BoundedSemaphore(4)
"""Threads of this process that measure, those that nobody waits for any more among them."""

Outcome = float | MeasureFailed
"""What a response measures, or why there is no number for it."""


class MeasuresBusy(Exception):
    """So many measures are at work in this process that no other one starts."""


def measure_within(measure: MeasureFunction, responses: Sequence[tuple[Dialogue, str]],
                   seconds: float) -> list[Outcome]:
    """The outcomes of the first responses, in order: of all, or of as many as were measured in `seconds`.

    Raises:
        MeasuresBusy: earlier measures still hold all threads.
    """
    if not _AT_ONCE.acquire(timeout=seconds):
        raise MeasuresBusy
    outcomes: list[Outcome] = []
    give_up = time.monotonic() + seconds

    def work() -> None:
        try:
            for prompt, response in responses:
                if time.monotonic() > give_up:
                    break
                try:
                    outcomes.append(measure(prompt, response))
                except MeasureFailed as error:
                    outcomes.append(error)
        finally:
            _AT_ONCE.release()

    thread = threading.Thread(target=work, daemon=True, name="measure")
    thread.start()
    thread.join(seconds)
    return list(outcomes)
