"""Curves: reduces binary chunks to the points that a chart of a given width needs. Numpy only, no requests.

A chart never gets a sample of the points. The points are cut into buckets of 2**k steps (or seconds), k the smallest
that fits the pixels, and each bucket keeps its minimum, maximum and last value: a spike of one step stays visible at
every zoom, and because edges are multiples of the bucket's width the chart does not flicker while points arrive.
Smoothing is computed on all points first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from webapp.runs.models import MetricChunk

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Blob: TypeAlias = bytes | memoryview  # PostgreSQL gives views
Axis: TypeAlias = Literal["step", "time"]
CSV_PART = 5000  # lines
BLOCK = 64  # points that the smoothing takes in one matrix product


class Series(NamedTuple):
    """The points of one tag of one stage, with ascending, unique steps."""

    steps: Integers
    values: Floats
    times: Floats


class Window(NamedTuple):
    """The requested part of a series: width in pixels, bounds in steps or seconds, weight of the smoothing."""

    width: int
    low: float | None = None
    high: float | None = None
    weight: float = 0.0
    axis: Axis = "step"

    def slice_of(self, x: NDArray[Any]) -> slice:
        """The points inside, and one more on either side so that the line reaches the edges of the chart."""
        start = 0 if self.low is None else max(int(np.searchsorted(x, self.low, "left")) - 1, 0)
        stop = len(x) if self.high is None else min(int(np.searchsorted(x, self.high, "right")) + 1, len(x))
        return slice(start, max(start, stop))


class Buckets(NamedTuple):
    """Columns of a picture: each bucket's last step and last value, and its extremes (None: one point a bucket)."""

    x: NDArray[Any]
    last: Floats
    low: Floats | None
    high: Floats | None
    positions: Integers


def join(chunks: Iterable[tuple[Blob, Blob, Blob]]) -> Series:
    """One series from its chunks (steps, values, times) in order; for a repeated step the last value counts."""
    parts = list(chunks)
    steps = np.frombuffer(b"".join(part[0] for part in parts), "<i8")
    values = np.frombuffer(b"".join(part[1] for part in parts), "<f8")
    times = np.frombuffer(b"".join(part[2] for part in parts), "<f8")
    if len(steps) > 1 and not (np.diff(steps) > 0).all():
        _, first_from_the_end = np.unique(steps[::-1], return_index=True)
        keep = len(steps) - 1 - first_from_the_end
        steps, values, times = steps[keep], values[keep], times[keep] if len(times) else times
    return Series(steps, values, times)


def read_series(stage: int, tag: str, times: bool = True) -> Series:
    """Read the whole series, without times if they are not needed."""
    chunks = MetricChunk.objects.filter(stage_id=stage, tag=tag).order_by("index")
    if times:
        return join(chunks.values_list("steps", "values", "times"))
    return join((steps, values, b"") for steps, values in chunks.values_list("steps", "values"))


def exponent(low: float, high: float, width: int) -> int:
    """The smallest k for which buckets of 2**k cover low to high in at most `width` columns (and one cut in two)."""
    span = max(high - low, 1e-9)
    return math.ceil(math.log2(span / max(width, 1)))


def bucket(x: NDArray[Any], values: Floats, width: int) -> Buckets:
    """Minimum, maximum and last value of each bucket of 2**k; all points if there are no more than pixels."""
    if len(x) <= width:
        return Buckets(x, values, None, None, np.arange(len(x)))
    starts = bucket_starts(x, width)
    ends = np.concatenate((starts[1:], [len(x)])) - 1
    low = np.fmin.reduceat(values, starts)
    high = np.fmax.reduceat(values, starts)
    return Buckets(x[ends], values[ends], low, high, ends)


def bucket_starts(x: NDArray[Any], width: int) -> NDArray[np.int64]:
    """The index of the first point of each bucket of 2**k steps or seconds."""
    k = exponent(float(x[0]), float(x[-1]), width)
    return np.concatenate(([0], np.flatnonzero(np.diff(np.floor(x / 2.0**k))) + 1))


def x_of(series: Series, axis: Axis) -> NDArray[Any]:
    """The horizontal axis: steps, or seconds since the first point. Times never decrease, even if the clock did."""
    if axis == "step" or not len(series.times):
        return series.steps if axis == "step" else series.times
    return np.maximum.accumulate(series.times) - series.times[0]


def smooth(values: Floats, weight: float) -> Floats:
    """Exponential moving average without bias towards 0 at the start; values that are not finite are skipped.

    s[t] = sum(weight**(t-i) * x[i]) / sum(weight**(t-i)), both over the finite x[i] with i <= t.
    """
    if not 0 < weight < 1 or not len(values):
        return values
    finite = np.isfinite(values)
    total = _decay(np.where(finite, values, 0.0), weight)
    mass = _decay(finite.astype(np.float64), weight)
    return np.divide(total, mass, out=np.full(len(values), np.nan), where=mass > 0)


def weight_so_far(values: Floats, weight: float) -> float:
    """The sum of the average's weights at the last point: the browser continues the average from it."""
    return float(_decay(np.isfinite(values).astype(np.float64), weight)[-1]) if 0 < weight < 1 and len(values) else 0.0


def _decay(values: Floats, weight: float) -> Floats:
    """y[t] = weight * y[t-1] + values[t], by blocks: a matrix product inside each, the same rule between them."""
    n = len(values)
    if n <= 1:
        return values.copy()
    block = min(BLOCK, n)
    rows = -(-n // block)
    padded = np.zeros(rows * block)
    padded[:n] = values
    lag = np.subtract.outer(np.arange(block), np.arange(block))
    kernel = np.where(lag >= 0, weight ** np.maximum(lag, 0), 0.0)
    inside = padded.reshape(rows, block) @ kernel.T
    if rows > 1:
        carried = _decay(inside[:, -1], weight**block)
        inside[1:] += carried[:-1, None] * weight ** np.arange(1, block + 1)
    return inside.reshape(-1)[:n]


def listed(values: NDArray[Any]) -> list[float | int | None]:
    """A column for JSON, rounded to 7 digits; NaN and infinity, which JSON does not have, become null."""
    if values.dtype.kind == "i":
        return values.tolist()
    rounded = [float(f"{value:.7g}") if math.isfinite(value) else None for value in values.tolist()]
    return list(rounded)


def seconds(times: Floats) -> list[float]:
    return np.round(times, 3).tolist()


def chart_series(series: Series, window: Window) -> dict[str, Any]:
    """The data of one series for the browser, by column."""
    x = x_of(series, window.axis)
    inside = window.slice_of(x)
    smoothed = smooth(series.values, window.weight)[inside] if window.weight else None
    buckets = bucket(x[inside], series.values[inside], window.width)
    return {
        "n": len(series.steps),
        "last_step": int(series.steps[-1]) if len(series.steps) else 0,
        "origin": float(series.times[0]) if len(series.times) else 0.0,
        "x": listed(buckets.x) if window.axis == "step" else seconds(buckets.x),
        "last": listed(buckets.last),
        "low": None if buckets.low is None else listed(buckets.low),
        "high": None if buckets.high is None else listed(buckets.high),
        "smooth": None if smoothed is None else listed(smoothed[buckets.positions]),
        "mass": weight_so_far(series.values, window.weight),
    }


def csv_lines(stage: str, tag: str, series: Series) -> Iterator[str]:
    """Every point as a line of CSV in full precision: stage, tag, step, unix time, value. Yields many lines at once."""
    for start in range(0, len(series.steps), CSV_PART):
        part = slice(start, start + CSV_PART)
        yield "".join(f"{stage},{tag},{step},{time:.3f},{value!r}\n" for step, value, time in zip(
            series.steps[part].tolist(), series.values[part].tolist(), series.times[part].tolist(), strict=True))
