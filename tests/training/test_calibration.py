"""How far scores can be trusted, by hand."""

from __future__ import annotations

import math
import random

import pytest

from training.calibration import accuracy, best_temperature, calibration_error, correlation, soft_loss, wilson


def test_wilson_is_wide_for_little_data_and_never_leaves_zero_to_one() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    low, high = wilson(10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4) and high == 1.0


def test_accuracy_counts_decided_labels_only_and_a_tie_by_half() -> None:
    # right, wrong, a tie, and a label that decides nothing
    assert accuracy([1.0, 2.0, 0.0, 3.0], [0.9, 0.1, 1.0, 0.52]) == (pytest.approx(1.5 / 3), 3)
    assert accuracy([1.0], [0.5]) == (0.5, 0)


def test_calibration_error_by_hand() -> None:
    # The model says 3/4 twice, once from either side, and is right once: off by 1/4.
    three_to_one = math.log(3)
    assert calibration_error([three_to_one, -three_to_one], [1.0, 1.0]) == pytest.approx(0.25)
    assert calibration_error([three_to_one], [0.75]) == pytest.approx(0)


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
