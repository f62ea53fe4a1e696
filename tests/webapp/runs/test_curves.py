"""Curves: what a chart is given shows every spike, and no number that is not in the data."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.runs.series.curves import (
    BLOCK,
    CSV_PART,
    Series,
    Window,
    bucket,
    chart_series,
    csv_lines,
    exponent,
    join,
    listed,
    smooth,
)

pytestmark = pytest.mark.once  # it knows no database

values_of = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


def series(values: list[float]) -> Series:
    steps = np.arange(len(values), dtype=np.int64)
    return Series(steps, np.array(values, dtype=np.float64), steps + 1000.0)


def chunk(steps: list[int], values: list[float]) -> tuple[bytes, bytes, bytes]:
    return (np.array(steps, "<i8").tobytes(), np.array(values, "<f8").tobytes(), np.array(steps, "<f8").tobytes())


def test_chunks_join_in_order() -> None:
    joined = join([chunk([1, 2], [10.0, 20.0]), chunk([3], [30.0])])
    assert joined.steps.tolist() == [1, 2, 3]
    assert joined.values.tolist() == [10.0, 20.0, 30.0]


def test_of_a_step_that_comes_twice_the_last_counts() -> None:
    joined = join([chunk([1, 2, 3], [1.0, 2.0, 3.0]), chunk([2, 3], [20.0, 30.0])])
    assert joined.steps.tolist() == [1, 2, 3]
    assert joined.values.tolist() == [1.0, 20.0, 30.0]


def test_no_chunks_are_an_empty_series() -> None:
    assert join([]).steps.tolist() == []
    assert chart_series(join([]), Window(100))["x"] == []


def test_few_points_are_shown_as_they_are() -> None:
    bucketed = bucket(np.array([1, 2, 3]), np.array([5.0, 6.0, 4.0]), 10)
    assert bucketed.x.tolist() == [1, 2, 3]
    assert bucketed.low is None and bucketed.high is None


def test_buckets_by_hand() -> None:
    """Steps 0 to 7 into 3 columns: width 2**2, so 0-3 and 4-7."""
    bucketed = bucket(np.arange(8), np.array([1.0, 9.0, 3.0, 2.0, 5.0, -4.0, 6.0, 7.0]), 3)
    assert bucketed.x.tolist() == [3, 7]
    assert bucketed.last.tolist() == [2.0, 7.0]
    assert bucketed.low is not None and bucketed.low.tolist() == [1.0, -4.0]
    assert bucketed.high is not None and bucketed.high.tolist() == [9.0, 7.0]


def test_a_value_that_is_no_number_does_not_hide_the_extremes_of_its_bucket() -> None:
    bucketed = bucket(np.arange(8), np.array([1.0, math.nan, 3.0, 2.0, math.nan, -4.0, 6.0, 7.0]), 3)
    assert bucketed.low is not None and bucketed.low.tolist() == [1.0, -4.0]
    assert bucketed.high is not None and bucketed.high.tolist() == [3.0, 7.0]


def test_the_width_of_a_bucket_is_a_power_of_two() -> None:
    assert exponent(0, 1024, 1024) == 0
    assert exponent(0, 1025, 1024) == 1
    assert exponent(0.0, 1.0, 4) == -2


def test_edges_stay_where_they_are_while_points_arrive() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=1100)
    before, after = (bucket(np.arange(n), values[:n], 200) for n in (1000, 1100))
    assert before.high is not None and after.high is not None
    assert before.high[:-1].tolist() == after.high[: len(before.high) - 1].tolist()


@pytest.mark.parametrize("width", [50, 300, 800, 1600])
@pytest.mark.parametrize("window", [(None, None), (40_000, 60_000), (49_000, 51_000), (49_990, 50_010)])
def test_a_spike_of_one_step_in_a_hundred_thousand_is_seen_at_every_zoom(
    width: int, window: tuple[int | None, int | None],
) -> None:
    values = np.zeros(100_000)
    values[50_000] = 1000.0
    steps = np.arange(100_000)
    drawing = chart_series(Series(steps, values, steps * 1.0), Window(width, *window))
    assert max(drawing["high"] or drawing["last"]) == 1000.0
    assert len(drawing["x"]) <= width + 2


@given(values_of, st.integers(1, 50))
def test_a_picture_keeps_the_extremes_and_the_last_value(values: list[float], width: int) -> None:
    bucketed = bucket(np.arange(len(values)), np.array(values), width)
    low = bucketed.last if bucketed.low is None else bucketed.low
    high = bucketed.last if bucketed.high is None else bucketed.high
    assert low.min() == min(values)
    assert high.max() == max(values)
    assert bucketed.last[-1] == values[-1]
    assert len(bucketed.x) <= width + 1


def test_smoothing_by_hand() -> None:
    """Weight 0.5 on 4, 8: (4) / 1, then (0.5 * 4 + 8) / 1.5."""
    assert smooth(np.array([4.0, 8.0]), 0.5).tolist() == pytest.approx([4.0, 10 / 1.5])


@given(values_of, st.floats(0.01, 0.99))
def test_smoothing_by_blocks_is_smoothing_by_hand(values: list[float], weight: float) -> None:
    total = mass = 0.0
    expected = []
    for value in values:
        total, mass = weight * total + value, weight * mass + 1
        expected.append(total / mass)
    assert smooth(np.array(values), weight).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 8, BLOCK**2 + 1])
def test_smoothing_has_no_seam_where_one_block_ends(length: int) -> None:
    total = mass = 0.0
    expected = []
    for value in range(length):
        total, mass = 0.9 * total + value, 0.9 * mass + 1
        expected.append(total / mass)
    assert smooth(np.arange(length, dtype=np.float64), 0.9).tolist() == pytest.approx(expected, rel=1e-9)


def test_smoothing_a_constant_changes_nothing_from_the_first_point_on() -> None:
    assert smooth(np.full(500, 7.0), 0.97).tolist() == pytest.approx([7.0] * 500)


def test_what_is_no_number_is_passed_over_by_smoothing_and_null_in_json() -> None:
    smoothed = smooth(np.array([math.nan, 2.0, math.inf, 2.0]), 0.9)
    assert math.isnan(smoothed[0])
    assert smoothed[1:].tolist() == pytest.approx([2.0, 2.0, 2.0])
    assert listed(np.array([1.0, math.nan, math.inf])) == [1.0, None, None]


def test_smoothing_is_of_all_points_whatever_the_window() -> None:
    data = series([float(value) for value in range(100)])
    smooth_of_all = chart_series(data, Window(1000, weight=0.9))["smooth"]
    part = chart_series(data, Window(1000, 50, 60, 0.9))
    assert part["smooth"] == smooth_of_all[49:62]
    assert part["x"] == list(range(49, 62))


def test_time_runs_from_the_first_point() -> None:
    drawing = chart_series(series([1.0, 2.0, 3.0]), Window(100, axis="time"))
    assert drawing["x"] == [0.0, 1.0, 2.0]
    assert drawing["origin"] == 1000.0


def test_a_clock_that_was_set_back_stands_still_and_loses_no_point() -> None:
    times = np.array([1000.0, 1010.0, 400.0, 1020.0])
    drawing = chart_series(Series(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]), times), Window(100, axis="time"))
    assert drawing["x"] == [0.0, 10.0, 10.0, 20.0] and drawing["last"] == [1.0, 2.0, 3.0, 4.0]
    window = Window(100, 15.0, 25.0, axis="time")
    later = chart_series(Series(np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]), times), window)
    assert later["last"] == [3.0, 4.0]


def test_a_million_points_are_drawn_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(1_000_000)
    data = Series(steps, rng.normal(size=1_000_000), steps * 1.0)
    begun = time.perf_counter()
    assert len(chart_series(data, Window(1000))["x"]) <= 1001
    assert time.perf_counter() - begun < 0.5  # 0.03 s on an idle core


def test_csv_has_every_point_in_full_precision() -> None:
    lines = "".join(csv_lines("ppo", "kl/mean", series([0.1, 1 / 3]))).splitlines()
    assert lines == ["ppo,kl/mean,0,1000.000,0.1", f"ppo,kl/mean,1,1001.000,{1 / 3!r}"]


def test_csv_comes_in_parts_so_that_a_long_series_is_sent_while_it_is_written() -> None:
    parts = list(csv_lines("ppo", "kl/mean", series([float(value) for value in range(2 * CSV_PART + 1)])))
    assert [part.count("\n") for part in parts] == [CSV_PART, CSV_PART, 1]
