"""The columns of a stacked chart: parts that are drawn on top of each other, each at the same real steps.

Extremes of single parts must not be stacked: they come from different steps, and their sum was never the reward. So of
each bucket those steps are taken at which the pile of positive parts is highest and the pile of negative parts is
lowest. A spike of one step is in the picture at every zoom, and every pile in it is one that there was.
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
    """Which stacked chart a tag is a part of; None for one that is never stacked."""
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
    seen = window.slice_of(x)
    chosen = np.arange(len(x))[seen][positions(x[seen], values[:, seen], window.width)]
    return [{"x": _listed_x(x_of(part, window.axis)[row][chosen], window.axis), "last": listed(column[chosen])}
            for part, row, column in zip(parts, rows, values, strict=True)]


def positions(x: NDArray[Any], values: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Of each bucket: where the sum of positive parts is largest and that of negative parts is smallest; and the end.

    Args:
        x: steps or seconds, ascending, [points].
        values: [part, points]; what is no number counts as 0.
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
