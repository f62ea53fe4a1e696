"""The columns of a stacked chart: series drawn on top of each other, all at the same steps.

The extremes of single parts must not be stacked: they come from different steps, and their sum was never the reward. So
each bucket shows the steps with the highest sum of positive parts and the lowest sum of negative parts. A spike of one
step is visible at every zoom, and every stack shown is one that occurred.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from webapp.runs.series.curves import Axis, Series, Window, bucket_starts, listed, seconds, smooth, x_of

_STACKED = (re.compile(r"principle/[^/]+/weighted"), re.compile(r"active/[^/]+"))


def stack_of(tag: str) -> int | None:
    """The stacked chart that a tag belongs to, or None."""
    return next((place for place, pattern in enumerate(_STACKED) if pattern.fullmatch(tag)), None)


def stacked(parts: Sequence[Series], window: Window) -> list[dict[str, Any]]:
    """The columns {x, last} of each part, at steps that all parts have."""
    steps = parts[0].steps
    for part in parts[1:]:
        steps = np.intersect1d(steps, part.steps, assume_unique=True)
    rows = [np.searchsorted(part.steps, steps) for part in parts]
    values = np.vstack([smooth(part.values, window.weight)[row] if window.weight else part.values[row]
                        for part, row in zip(parts, rows, strict=True)])
    x = x_of(parts[0], window.axis)[rows[0]]
    inside = window.slice_of(x)
    chosen = np.arange(len(x))[inside][positions(x[inside], values[:, inside], window.width)]
    return [{"x": _listed_x(x_of(part, window.axis)[row][chosen], window.axis), "last": listed(column[chosen])}
            for part, row, column in zip(parts, rows, values, strict=True)]


def positions(x: NDArray[Any], values: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """For each bucket, the positions of the largest sum of positive parts, the smallest of negative, and the last.

    Args:
        x: steps or seconds, ascending, [points].
        values: [part, points]; NaN counts as 0.
    """
    if len(x) <= width:
        return np.arange(len(x))
    finite = np.where(np.isfinite(values), values, 0.0)
    up, down = np.maximum(finite, 0).sum(axis=0), np.minimum(finite, 0).sum(axis=0)
    starts = bucket_starts(x, width)
    ends = [*starts[1:], len(x)]
    chosen = {len(x) - 1}
    for start, end in zip(starts, ends, strict=True):
        chosen |= {start + int(np.argmax(up[start:end])), start + int(np.argmin(down[start:end]))}
    return np.array(sorted(chosen))


def _listed_x(x: NDArray[Any], axis: Axis) -> list[Any]:
    return listed(x) if axis == "step" else seconds(x)
