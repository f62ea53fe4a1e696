"""Writing metric series: points into chunks of at most 512, of which only the last one of a series grows.

A chunk's columns are little-endian: int64 steps, float64 values, float64 unix times. Its minimum, maximum and total
are over the finite values (a database knows no NaN); the column itself keeps whatever was reported. Reading is in
`webapp.runs.curves`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from webapp.runs.models import MetricChunk, Stage

SIZE = 512
_UPDATED = ["first_step", "last_step", "n", "minimum", "maximum", "total", "steps", "values", "times"]


@dataclass
class _Tail:
    """The growing chunk of one series."""

    index: int = 0
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    changed: bool = False


class SeriesWriter:
    """Writes the series of one stage. There is one writer a stage at a time: who holds its lease."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tails: dict[str, _Tail] | None = None
        self._full: list[MetricChunk] = []

    def add(self, tag: str, step: int, value: float, time: float) -> None:
        """One point. A step that comes again replaces its value; one from before the last is passed over."""
        tail = self._loaded().setdefault(tag, _Tail())
        if tail.steps and step <= tail.steps[-1]:
            if step == tail.steps[-1]:
                tail.values[-1], tail.times[-1], tail.changed = value, time, True
            return
        if len(tail.steps) == SIZE:
            self._full.append(_chunk(self._stage, tag, tail))
            tail = self._loaded()[tag] = _Tail(tail.index + 1)
        tail.steps.append(step)
        tail.values.append(value)
        tail.times.append(time)
        tail.changed = True

    def flush(self) -> None:
        """Write what changed: one query, however many series. Call it inside the batch's transaction."""
        if self._tails is None:
            return
        changed = [_chunk(self._stage, tag, tail) for tag, tail in self._tails.items() if tail.changed]
        if chunks := self._full + changed:
            MetricChunk.objects.bulk_create(chunks, update_conflicts=True, unique_fields=["stage", "tag", "index"],
                                            update_fields=_UPDATED)
        self._full = []
        for tail in self._tails.values():
            tail.changed = False

    def forget(self) -> None:
        """Take nothing of what is in memory for granted: the transaction was rolled back, or rows were removed."""
        self._tails, self._full = None, []

    def rewind(self, step: int) -> None:
        """Drop every point after a step."""
        self.flush()
        later = MetricChunk.objects.filter(stage=self._stage, last_step__gt=step)
        later.filter(first_step__gt=step).delete()
        for chunk in later:
            keep = int(np.searchsorted(np.frombuffer(bytes(chunk.steps), "<i8"), step, side="right"))
            tail = _decoded(chunk, keep)
            MetricChunk.objects.filter(pk=chunk.pk).update(
                **{name: getattr(_chunk(self._stage, chunk.tag, tail), name) for name in _UPDATED})
        self.forget()

    def _loaded(self) -> dict[str, _Tail]:
        if self._tails is None:
            chunks = MetricChunk.objects.filter(stage=self._stage)
            newest = dict(chunks.order_by("index").values_list("tag", "pk"))
            self._tails = {chunk.tag: _decoded(chunk, chunk.n) for chunk in chunks.filter(pk__in=newest.values())}
        return self._tails


def _chunk(stage: Stage, tag: str, tail: _Tail) -> MetricChunk:
    finite = [value for value in tail.values if math.isfinite(value)]
    return MetricChunk(
        stage=stage, tag=tag[:120], index=tail.index, first_step=tail.steps[0], last_step=tail.steps[-1],
        n=len(tail.steps), minimum=min(finite, default=0.0), maximum=max(finite, default=0.0),
        total=math.fsum(finite), steps=_bytes(tail.steps, "<i8"), values=_bytes(tail.values, "<f8"),
        times=_bytes(tail.times, "<f8"))


def _decoded(chunk: MetricChunk, keep: int) -> _Tail:
    columns = [np.frombuffer(bytes(getattr(chunk, name)), kind)[:keep].tolist()
               for name, kind in (("steps", "<i8"), ("values", "<f8"), ("times", "<f8"))]
    return _Tail(chunk.index, *columns)


def _bytes(column: Iterable[float], kind: str) -> bytes:
    return np.array(list(column), dtype=kind).tobytes()
