"""How far scores can be trusted, by hand."""

from __future__ import annotations

import math
import random

import pytest

from training.quality.calibration import (
    accuracy,
    best_temperature,
    calibration_error,
    correlation,
    reliability,
    slope,
    soft_loss,
)


def test_accuracy_counts_decided_labels_only_and_a_tie_by_half() -> None:
    # right, wrong, a tie, and a label that decides nothing
    assert accuracy([1.0, 2.0, 0.0, 3.0], [0.9, 0.1, 1.0, 0.52]) == (pytest.approx(1.5 / 3), 3)
    assert accuracy([1.0], [0.5]) == (0.5, 0)


def test_calibration_error_by_hand() -> None:
    # The model says 3/4 twice, once from either side, and is right once: off by 1/4.
    three_to_one = math.log(3)
    assert calibration_error([three_to_one, -three_to_one], [1.0, 1.0]) == pytest.approx(0.25)
    assert calibration_error([three_to_one], [0.75]) == pytest.approx(0)


def test_the_reliability_curve_by_hand() -> None:
    # Two pairs at 3/4, of which one agrees, and one at 0.95 that agrees by 0.8.
    rows = reliability([math.log(3), -math.log(3), math.log(19)], [1.0, 1.0, 0.8], bins=5)
    assert [(row["low"], row["high"], row["n"]) for row in rows] == [
        (pytest.approx(0.7), pytest.approx(0.8), 2), (pytest.approx(0.9), pytest.approx(1.0), 1)]
    assert [row["confidence"] for row in rows] == pytest.approx([0.75, 0.95])
    assert [row["agreed"] for row in rows] == pytest.approx([0.5, 0.8])
    # The error is the mean distance of the two, each bin by its pairs: (2 * 0.25 + 1 * 0.15) / 3.
    error = calibration_error([math.log(3), -math.log(3), math.log(19)], [1.0, 1.0, 0.8], bins=5)
    assert error == pytest.approx(0.65 / 3)
    assert reliability([], []) == [] and calibration_error([], []) == 0


def test_the_best_temperature_undoes_what_was_overdone() -> None:
    draw = random.Random(0)
    truth = [draw.gauss(0, 1) for _ in range(500)]
    labels = [1 / (1 + math.exp(-d)) for d in truth]
    assert best_temperature([3 * d for d in truth], labels) == pytest.approx(3, rel=1e-3)
    assert soft_loss([0.0], [0.3]) == pytest.approx(math.log(2))


def test_correlation_by_hand() -> None:
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert correlation([1, 1], [1, 2]) == 0


def test_the_slope_by_hand() -> None:
    assert slope([1, 3, 5], [10, 11, 12]) == pytest.approx(2)
    assert slope([1, 5, 3], [0, 1, 2]) == pytest.approx(1)  # the outer two alone decide: (3 - 1) / 2
    assert slope([1, 2], [3, 3]) == 0 and slope([], []) == 0
