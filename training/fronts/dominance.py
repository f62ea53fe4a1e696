"""Dominance: which points are beaten in every objective by another one.

A point dominates another one if it is at least as good in every objective and better in one. Equal points do not
dominate each other, so that all copies of a point are on the front or none is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Direction = Literal["higher", "lower"]
"""Which values of an objective are better."""


def as_points(points: ArrayLike, directions: Sequence[Direction]) -> NDArray[np.float64]:
    """The points as an array [points, objectives].

    Raises:
        ValueError: there is no objective, a point has more or fewer values than there are directions, or a value is
            no finite number.
    """
    values = np.asarray(points, dtype=float)
    if values.size == 0:
        values = values.reshape(0, len(directions))
    if not directions or values.ndim != 2 or values.shape[1] != len(directions):
        raise ValueError(f"points of shape {values.shape} do not fit {len(directions)} directions")
    if not np.isfinite(values).all():
        raise ValueError("a point has a value that is no finite number")
    return values


def dominance_counts(points: ArrayLike, directions: Sequence[Direction]) -> list[int]:
    """For each point, by how many others it is dominated; 0 on the front.

    >>> dominance_counts([[2, 2], [1, 1], [1, 3], [0, 0]], ["higher", "higher"])
    [0, 2, 0, 3]
    """
    values = as_points(points, directions) * [1 if direction == "higher" else -1 for direction in directions]
    return [int(((values >= point).all(axis=1) & (values > point).any(axis=1)).sum()) for point in values]


def non_dominated(points: ArrayLike, directions: Sequence[Direction]) -> list[bool]:
    """For each point, whether no other one dominates it.

    >>> non_dominated([[2, 5.0], [1, 5.0], [1, 3.0]], ["higher", "lower"])
    [True, False, True]
    """
    import moocore  # a fifth of a second, which is paid only where a front is asked for

    values = as_points(points, directions)
    if not len(values):
        return []
    higher = [direction == "higher" for direction in directions]
    return [bool(flag) for flag in moocore.is_nondominated(values, maximise=higher, keep_weakly=True)]
