"""From a stage's report stream to the database: batches of events, each in one transaction.

The transaction begins by moving the stage's offset on, on the condition that the lease is still ours and the offset is
where we left it. So a batch is recorded once or not at all, and a supervisor that was fenced off can record nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import F

from training.text import storable
from webapp.runs.live.pokes import poke
from webapp.runs.models import LogLine, RunStage, Sample, Stage
from webapp.runs.series.writer import SeriesWriter
from workers.event_lines import Event, read_events
from workers.labels import LabelRecorder

MOST_BYTES = 1_000_000  # read from the stream at a time: bounds a batch and its transaction
LONGEST_LINE = 16_000_000  # bytes; a longer one is no event of ours and is left out


class LeaseLost(Exception):
    """Another supervisor has the stage, or nobody should have it: nothing more may be recorded."""


@dataclass
class _Batch:
    """What the events of a batch come to, besides points."""

    samples: dict[tuple[int, int], Sample] = field(default_factory=dict)
    log: list[LogLine] = field(default_factory=list)
    labels: list[Mapping[str, Any]] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    last_step: int = 0
    rewinds: int = 0


class Recorder:
    """Follows one stage's `events.jsonl` from the offset that was last committed."""

    def __init__(self, stage: Stage, token: str, pairs: Path | None = None) -> None:
        self._stage, self._token = stage, token
        self._path = stage.folder / "events.jsonl"
        self._series = SeriesWriter(stage)
        self._pairs = pairs
        self._labels = LabelRecorder(stage, pairs)
        self._torn_at = -1  # size of the file when its last line was seen to have no end yet
        self._pace: tuple[float, int, int] | None = None  # time and count of the first progress event, and its total

    def record_new(self) -> bool:
        """Record the next batch of whole lines; whether there was one.

        Raises:
            LeaseLost: the stage is no longer ours. Nothing was written.
            DatabaseError: nothing was written; the next call begins at the same place.
        """
        events, offset = self._read()
        if offset == self._stage.events_offset:
            return False
        try:
            with transaction.atomic():
                self._record(events, offset)
        except BaseException:
            # What was remembered of rows may have been rolled back with them.
            self._series.forget()
            self._labels = LabelRecorder(self._stage, self._pairs)
            raise
        self._stage.events_offset, self._stage.events_seq = offset, self._last_seq(events)
        runs = RunStage.objects.filter(stage=self._stage).values_list("run_id", flat=True)
        poke(runs=list(runs), team=self._stage.team_id)
        return True

    def _read(self) -> tuple[list[Event], int]:
        """Events after the offset, and where their lines end. A line that is being written waits for the next time."""
        offset = self._stage.events_offset
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == self._torn_at:
                    return [], offset
                file.seek(offset)
                data = file.read(MOST_BYTES)
                if len(data) == MOST_BYTES and b"\n" not in data:
                    data += file.readline(LONGEST_LINE - len(data))
                skipped = 0
                if len(data) == LONGEST_LINE and b"\n" not in data:
                    while (part := file.readline(MOST_BYTES)) and not part.endswith(b"\n"):
                        skipped += len(part)
                    skipped, data = (skipped + len(part), data + b"\n") if part else (0, b"")
        except FileNotFoundError:
            return [], offset
        end = data.rfind(b"\n") + 1
        self._torn_at = -1 if end else size
        return read_events(data[:end].split(b"\n"), self._stage.events_seq), offset + (
            LONGEST_LINE + skipped if skipped else end)

    def _last_seq(self, events: Sequence[Event]) -> int:
        return max((int(event["seq"]) for event in events), default=self._stage.events_seq)

    def _record(self, events: Sequence[Event], offset: int) -> None:
        ours = Stage.objects.filter(pk=self._stage.pk, lease_token=self._token, status=Stage.Status.RUNNING,
                                    events_offset=self._stage.events_offset)
        if not ours.update(events_offset=offset, events_seq=self._last_seq(events)):
            raise LeaseLost(f"the lease on {self._stage} is gone")
        batch = _Batch(last_step=self._stage.last_step)
        for event in events:
            self._take(event, batch)
        self._series.flush()
        if self._series.late_points:  # pages that have read past them start over, as after a rewind
            batch.rewinds, self._series.late_points = batch.rewinds + 1, 0
        self._write(batch)
        self._stage.last_step = batch.last_step
        Stage.objects.filter(pk=self._stage.pk).update(last_step=batch.last_step, rewinds=F("rewinds") + batch.rewinds,
                                                       **batch.changes)

    def _take(self, event: Event, batch: _Batch) -> None:
        kind = event["kind"]
        if kind == "metric":
            batch.last_step = max(batch.last_step, event["step"])
            for tag, value in event["values"].items():
                self._series.add(storable(tag), event["step"], value, event["time"])
        elif kind == "progress":
            batch.changes.update(self._progress(event))
        elif kind == "sample":
            batch.samples[event["step"], event["index"]] = Sample(
                stage=self._stage, reward=_number(event["reward"]),
                rewards={storable(name): _number(value) for name, value in event["rewards"].items()},
                step=event["step"], index=event["index"], prompt=storable(event["prompt"]),
                response=storable(event["response"]))
        elif kind == "label":
            batch.labels.append(event)
        elif kind in {"log", "warning", "artifact"}:
            batch.log.append(_line(self._stage, event))
        elif kind == "rewind":
            self._rewind(event["step"], batch)

    def _rewind(self, step: int, batch: _Batch) -> None:
        """Points, samples and warnings after a step are void. What the batch holds of them is written first."""
        self._write(batch)
        batch.samples, batch.log, batch.labels = {}, [], []
        self._series.rewind(step)
        Sample.objects.filter(stage=self._stage, step__gt=step).delete()
        LogLine.objects.filter(stage=self._stage, step__gt=step).exclude(code="").delete()
        batch.last_step = min(batch.last_step, step)
        batch.rewinds += 1
        self._pace = None

    def _write(self, batch: _Batch) -> None:
        if batch.samples:
            Sample.objects.bulk_create(
                batch.samples.values(), update_conflicts=True, unique_fields=["stage", "step", "index"],
                update_fields=["prompt", "response", "reward", "rewards"])
        if batch.log:
            LogLine.objects.bulk_create(batch.log, ignore_conflicts=True)
        if batch.labels:
            self._labels.record(batch.labels)

    def _progress(self, event: Event) -> dict[str, Any]:
        done, total, now = event["done"], event["total"], event["time"]
        if self._pace is None or self._pace[2] != total or done < self._pace[1]:
            self._pace = (now, done, total)
        began, first, _ = self._pace
        eta = max((total - done) * (now - began) / (done - first), 0.0) if done > first else None
        return {"progress_done": done, "progress_total": total, "progress_unit": storable(event["unit"])[:30],
                "eta_seconds": eta}


def _line(stage: Stage, event: Event) -> LogLine:
    message = event.get("message") or f"wrote {event.get('path', '')}"
    warning = event["kind"] == "warning"
    return LogLine(stage=stage, seq=event["seq"], time=datetime.fromtimestamp(event["time"], UTC),
                   level="warning" if warning else storable(event.get("level", "info"))[:10],
                   message=storable(message), code=storable(event["code"])[:60] if warning else "",
                   step=event["step"] if warning else None)


def _number(value: float) -> float:
    """JSON in a database knows no NaN."""
    return value if abs(value) < float("inf") else 0.0
