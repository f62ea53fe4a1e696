"""Writes metric series in chunks of 512 points. Only the last chunk of a series grows, unless a point arrives late.

A chunk's columns are little-endian: int64 steps, float64 values, float64 unix times. Its minimum, maximum and total
are over the finite values (databases have no NaN); the columns keep every reported value. Reading is in
`webapp.runs.series.curves`.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from webapp.runs.models import LONGEST_TAG, MetricChunk, Stage

SIZE = 512
_UPDATED = ["first_step", "last_step", "n", "minimum", "maximum", "total", "steps", "values", "times"]


@dataclass
class _GrowingChunk:
    """The growing chunk of one series."""

    index: int = 0
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    changed: bool = False

    def put(self, step: int, value: float, time: float) -> bool:
        """Add a point. Returns whether its step is new."""
        place, self.changed = bisect_left(self.steps, step), True
        if place < len(self.steps) and self.steps[place] == step:
            self.values[place], self.times[place] = value, time
            return False
        self.steps.insert(place, step)
        self.values.insert(place, value)
        self.times.insert(place, time)
        return True


class SeriesWriter:
    """Writes the series of one stage. Only the holder of the stage's lease writes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.late_points = 0  # points that arrived after a later step: pages that have read past them must read again
        self._tails: dict[str, _GrowingChunk] | None = None
        self._full: list[MetricChunk] = []

    def add(self, tag: str, step: int, value: float, time: float) -> None:
        """Add one point. A repeated step replaces its value; a step before the last one is inserted in order."""
        tag = stored_tag(tag)
        tail = self._loaded().setdefault(tag, _GrowingChunk())
        if tail.steps and step < tail.steps[0] and tail.index:
            self._put_into_an_earlier_chunk(tag, step, value, time)
            return
        if tail.steps and step <= tail.steps[-1]:
            self.late_points += tail.put(step, value, time)
            return
        if len(tail.steps) >= SIZE:
            self._full.append(_chunk(self._stage, tag, tail))
            tail = self._loaded()[tag] = _GrowingChunk(tail.index + 1)
        tail.steps.append(step)
        tail.values.append(value)
        tail.times.append(time)
        tail.changed = True

    def _put_into_an_earlier_chunk(self, tag: str, step: int, value: float, time: float) -> None:
        """Insert the point into a stored chunk, which is otherwise unchanged."""
        self.flush()
        chunks = MetricChunk.objects.filter(stage=self._stage, tag=tag)
        chunk = chunks.filter(first_step__lte=step).order_by("index").last() or chunks.get(index=0)
        earlier = _decoded(chunk, chunk.n)
        self.late_points += earlier.put(step, value, time)
        _replace(chunk, earlier)

    def flush(self) -> None:
        """Write all changes in one query. Call it inside the batch's transaction."""
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
        """Clear the cached chunks, after a rolled-back transaction or after rows were deleted."""
        self._tails, self._full, self.late_points = None, [], 0

    def rewind(self, step: int) -> None:
        """Drop every point after a step."""
        self.flush()
        later = MetricChunk.objects.filter(stage=self._stage, last_step__gt=step)
        later.filter(first_step__gt=step).delete()
        for chunk in later:
            keep = int(np.searchsorted(np.frombuffer(bytes(chunk.steps), "<i8"), step, side="right"))
            _replace(chunk, _decoded(chunk, keep))
        self.forget()

    def _loaded(self) -> dict[str, _GrowingChunk]:
        if self._tails is None:
            chunks = MetricChunk.objects.filter(stage=self._stage)
            newest = dict(chunks.order_by("index").values_list("tag", "pk"))
            self._tails = {chunk.tag: _decoded(chunk, chunk.n) for chunk in chunks.filter(pk__in=newest.values())}
        return self._tails


def _chunk(stage: Stage, tag: str, tail: _GrowingChunk) -> MetricChunk:
    finite = [value for value in tail.values if math.isfinite(value)]
    return MetricChunk(
        stage=stage, tag=tag, index=tail.index, first_step=tail.steps[0], last_step=tail.steps[-1],
        n=len(tail.steps), minimum=min(finite, default=0.0), maximum=max(finite, default=0.0),
        total=math.fsum(finite), steps=_bytes(tail.steps, "<i8"), values=_bytes(tail.values, "<f8"),
        times=_bytes(tail.times, "<f8"))


def _replace(chunk: MetricChunk, tail: _GrowingChunk) -> None:
    """Replace the points of a stored chunk."""
    changed = _chunk(chunk.stage, chunk.tag, tail)
    MetricChunk.objects.filter(pk=chunk.pk).update(**{name: getattr(changed, name) for name in _UPDATED})


def stored_tag(tag: str) -> str:
    """The tag as stored: one that is too long is cut and gets a digest of the full tag."""
    if len(tag) <= LONGEST_TAG:
        return tag
    return f"{tag[:LONGEST_TAG - 18]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def _decoded(chunk: MetricChunk, keep: int) -> _GrowingChunk:
    columns = [np.frombuffer(bytes(getattr(chunk, name)), kind)[:keep].tolist()
               for name, kind in (("steps", "<i8"), ("values", "<f8"), ("times", "<f8"))]
    return _GrowingChunk(chunk.index, *columns)


def _bytes(column: Iterable[float], kind: str) -> bytes:
    return np.array(list(column), dtype=kind).tobytes()
