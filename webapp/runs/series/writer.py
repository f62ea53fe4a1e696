"""Writing metric series: points into chunks of 512, of which only the last one of a series grows. (A point that comes
late makes an earlier one larger.)

A chunk's columns are little-endian: int64 steps, float64 values, float64 unix times. Its minimum, maximum and total
are over the finite values (a database knows no NaN); the column itself keeps whatever was reported. Reading is in
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
        """A point among those that are there; whether its step is a new one."""
        place, self.changed = bisect_left(self.steps, step), True
        if place < len(self.steps) and self.steps[place] == step:
            self.values[place], self.times[place] = value, time
            return False
        self.steps.insert(place, step)
        self.values.insert(place, value)
        self.times.insert(place, time)
        return True


class SeriesWriter:
    """Writes the series of one stage. There is one writer per stage at a time: who holds its lease."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.late_points = 0  # points that came after one of a later step: whoever has read past them must read again
        self._tails: dict[str, _GrowingChunk] | None = None
        self._full: list[MetricChunk] = []

    def add(self, tag: str, step: int, value: float, time: float) -> None:
        """One point. A step that comes again replaces its value; one from before the last goes where it belongs."""
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
        """It grows by the point; nothing else of it changes."""
        self.flush()
        chunks = MetricChunk.objects.filter(stage=self._stage, tag=tag)
        chunk = chunks.filter(first_step__lte=step).order_by("index").last() or chunks.get(index=0)
        earlier = _decoded(chunk, chunk.n)
        self.late_points += earlier.put(step, value, time)
        _replace(chunk, earlier)

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
    """Write other points into a chunk that is stored."""
    changed = _chunk(chunk.stage, chunk.tag, tail)
    MetricChunk.objects.filter(pk=chunk.pk).update(**{name: getattr(changed, name) for name in _UPDATED})


def stored_tag(tag: str) -> str:
    """The tag as it is stored: a longer one than fits keeps its beginning and gets a digest of the whole of it."""
    if len(tag) <= LONGEST_TAG:
        return tag
    return f"{tag[:LONGEST_TAG - 18]}~{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def _decoded(chunk: MetricChunk, keep: int) -> _GrowingChunk:
    columns = [np.frombuffer(bytes(getattr(chunk, name)), kind)[:keep].tolist()
               for name, kind in (("steps", "<i8"), ("values", "<f8"), ("times", "<f8"))]
    return _GrowingChunk(chunk.index, *columns)


def _bytes(column: Iterable[float], kind: str) -> bytes:
    return np.array(list(column), dtype=kind).tobytes()
