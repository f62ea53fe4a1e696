"""Hypervolume: how much of the space of objectives a set of points dominates, as one number.

It is the volume of everything that some point dominates and that is better than the reference point (Zitzler and Thiele
1998, doi 10.1007/BFb0056872). More is better; of two sets of which one covers the other, that one has the larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from training.fronts.dominance import Direction, as_points


def hypervolume(points: ArrayLike, reference: Sequence[float], directions: Sequence[Direction]) -> float:
    """The volume between the points and the reference point.

    Args:
        points: [points, objectives]. One that is not better than the reference point in every objective adds nothing.
        reference: the worst value that counts, by objective.
        directions: which values are better, by objective.

    >>> hypervolume([[1, 3], [2, 1]], [0, 0], ["higher", "higher"])
    4.0
    """
    import moocore

    values = as_points(points, directions)
    (worst,) = as_points([list(reference)], directions)
    signs = np.array([1.0 if direction == "higher" else -1.0 for direction in directions])
    gains = (values - worst) * signs
    return float(moocore.hypervolume(gains, ref=np.zeros(len(signs)), maximise=True))
