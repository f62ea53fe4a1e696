"""Records a stage's report stream in the database: batches of events, each in one transaction.

The transaction first advances the stage's offset, on the condition that the lease is still ours and the offset
unchanged. So a batch is recorded exactly once or not at all, and a supervisor that lost its lease can record nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

from django.db import transaction
from django.db.models import F

from training.run.event_stream import Batch, EventReader
from training.run.events import (
    ArtifactEvent,
    Event,
    LabelEvent,
    LogEvent,
    ProgressEvent,
    SiblingLabelEvent,
    WarningEvent,
)
from training.text import storable
from webapp.runs.live.notifications import notify_run_changed
from webapp.runs.models import LogLine, Run, RunStage, Sample, Stage
from webapp.runs.run_values import SOURCES, store_values
from webapp.runs.series.writer import SeriesWriter
from workers.labels import LabelRecorder

VALUES_EVERY = 20.0  # seconds between two updates of the values that the table of runs filters by


class LeaseLost(Exception):
    """Another supervisor has the stage, or it was stopped: nothing more may be recorded."""


@dataclass
class _Rows:
    """Rows to write for a batch of events, except metric points."""

    samples: dict[tuple[int, int], Sample] = field(default_factory=dict)
    log: list[LogLine] = field(default_factory=list)
    labels: list[LabelEvent] = field(default_factory=list)
    sibling_labels: list[SiblingLabelEvent] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    last_step: int = 0
    rewinds: int = 0


class Recorder:
    """Follows one stage's `events.jsonl` from the offset that was last committed."""

    def __init__(self, stage: Stage, token: str, pairs: Path | None = None) -> None:
        self._stage, self._token = stage, token
        self._reader = EventReader(stage.folder / "events.jsonl")
        self._series = SeriesWriter(stage)
        self._pairs = pairs
        self._labels = LabelRecorder(stage, pairs)
        self._values_at = time.monotonic()
        self._pace: tuple[float, int, int] | None = None  # time and count of the first progress event, and its total

    def record_new(self) -> bool:
        """Record the next batch of complete lines. Returns whether there was one.

        Raises:
            LeaseLost: the stage is no longer ours. Nothing was written.
            DatabaseError: nothing was written; the next call begins at the same place.
        """
        batch = self._reader.after(self._stage.events_offset, self._stage.events_seq)
        if batch.offset == self._stage.events_offset:
            return False
        try:
            with transaction.atomic():
                self._record(batch)
        except BaseException:
            # The cached state of rows may have been rolled back with them.
            self._series.forget()
            self._labels = LabelRecorder(self._stage, self._pairs)
            raise
        self._stage.events_offset, self._stage.events_seq = batch.offset, batch.seq
        runs = RunStage.objects.filter(stage=self._stage).values_list("run_id", flat=True)
        notify_run_changed(runs=list(runs), team=self._stage.team_id)
        if self._stage.kind in SOURCES and time.monotonic() - self._values_at > VALUES_EVERY:
            self._values_at = time.monotonic()
            store_values(list(Run.objects.filter(pk__in=list(runs))))
        return True

    def _record(self, batch: Batch) -> None:
        ours = Stage.objects.filter(pk=self._stage.pk, lease_token=self._token, status=Stage.Status.RUNNING,
                                    events_offset=self._stage.events_offset)
        if not ours.update(events_offset=batch.offset, events_seq=batch.seq):
            raise LeaseLost(f"the lease on {self._stage} is gone")
        rows = _Rows(last_step=self._stage.last_step)
        for event in batch.events:
            self._take(event, rows)
        self._series.flush()
        if self._series.late_points:  # pages that have read past them start over, as after a rewind
            rows.rewinds, self._series.late_points = rows.rewinds + 1, 0
        self._write(rows)
        self._stage.last_step = rows.last_step
        Stage.objects.filter(pk=self._stage.pk).update(last_step=rows.last_step, rewinds=F("rewinds") + rows.rewinds,
                                                       **rows.changes)

    def _take(self, event: Event, rows: _Rows) -> None:
        if event["kind"] == "metric":
            rows.last_step = max(rows.last_step, event["step"])
            for tag, value in event["values"].items():
                self._series.add(storable(tag), event["step"], value, event["time"])
        elif event["kind"] == "progress":
            rows.changes.update(self._progress(event))
        elif event["kind"] == "sample":
            rows.samples[event["step"], event["index"]] = Sample(
                stage=self._stage, reward=_number(event["reward"]),
                rewards={storable(name): _number(value) for name, value in event["rewards"].items()},
                step=event["step"], index=event["index"], prompt=storable(event["prompt"]),
                response=storable(event["response"]))
        elif event["kind"] == "label":
            rows.labels.append(event)
        elif event["kind"] == "sibling_label":
            rows.sibling_labels.append(event)
        elif event["kind"] == "log" or event["kind"] == "warning" or event["kind"] == "artifact":
            rows.log.append(_line(self._stage, event))
        elif event["kind"] == "rewind":
            self._rewind(event["step"], rows)
        elif event["kind"] == "answer":
            pass  # the first order of a label, which becomes a row with the second
        else:
            assert_never(event)

    def _rewind(self, step: int, rows: _Rows) -> None:
        """Delete points, samples and warnings after a step. Those in the current batch are written first."""
        self._write(rows)
        rows.samples, rows.log, rows.labels, rows.sibling_labels = {}, [], [], []
        self._series.rewind(step)
        Sample.objects.filter(stage=self._stage, step__gt=step).delete()
        LogLine.objects.filter(stage=self._stage, step__gt=step).exclude(code="").delete()
        rows.last_step = min(rows.last_step, step)
        rows.rewinds += 1
        self._pace = None

    def _write(self, rows: _Rows) -> None:
        if rows.samples:
            Sample.objects.bulk_create(
                rows.samples.values(), update_conflicts=True, unique_fields=["stage", "step", "index"],
                update_fields=["prompt", "response", "reward", "rewards"])
        if rows.log:
            LogLine.objects.bulk_create(rows.log, ignore_conflicts=True)
        if rows.labels:
            self._labels.record(rows.labels)
        if rows.sibling_labels:
            self._labels.record_siblings(rows.sibling_labels)

    def _progress(self, event: ProgressEvent) -> dict[str, Any]:
        done, total, now = event["done"], event["total"], event["time"]
        if self._pace is None or self._pace[2] != total or done < self._pace[1]:
            self._pace = (now, done, total)
        began, first, _ = self._pace
        eta = max((total - done) * (now - began) / (done - first), 0.0) if done > first else None
        return {"progress_done": done, "progress_total": total, "progress_unit": storable(event["unit"])[:30],
                "eta_seconds": eta}


def _line(stage: Stage, event: LogEvent | WarningEvent | ArtifactEvent) -> LogLine:
    line = LogLine(stage=stage, seq=event["seq"], time=datetime.fromtimestamp(event["time"], UTC), level="info",
                   code="", step=None)
    if event["kind"] == "artifact":
        line.message = storable(f"wrote {event['path']}")
    elif event["kind"] == "log":
        line.level, line.message = storable(event["level"])[:10], storable(event["message"])
    else:
        line.level, line.message = "warning", storable(event["message"])
        line.code, line.step = storable(event["code"])[:60], event["step"]
    return line


def _number(value: float) -> float:
    """A number for a JSON column, which cannot store NaN."""
    return value if abs(value) < float("inf") else 0.0
