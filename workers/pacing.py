"""Copies the pace that people set for a label stage from the database to the file that its process reads.

The stage's worker reads the row, so the web needs no access to the stage's folder. Left out: stages of other kinds,
which have no pace.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from training.judges.control import read_control, write_control
from webapp.runs.models import Pace, Stage

LOOK = 0.5  # seconds between two reads of the row


class Pacing:
    """Keeps the control file of one stage in step with its row."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._next = 0.0

    def look(self) -> None:
        """Write the file if the row has changed; at most one query every `LOOK` seconds."""
        if self._stage.kind != "label" or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOOK
        row = Pace.objects.filter(stage=self._stage).values("paused", "requests_per_minute", "concurrency").first()
        if row is not None and not _says(self._stage, row):
            write_control(self._stage.folder, **row)


def _says(stage: Stage, row: Mapping[str, Any]) -> bool:
    control = read_control(stage.folder).model_dump()
    return all(control[name] == value for name, value in row.items())
