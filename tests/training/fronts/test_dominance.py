"""Which points are on the front: by hand, and laws that hold for any points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.fronts.dominance import Direction, dominance_counts, non_dominated

UP: list[Direction] = ["higher", "higher"]
MIXED: list[Direction] = ["higher", "lower", "higher"]


def test_a_point_that_is_worse_in_everything_is_dominated() -> None:
    points = [(0.7, 0.4), (0.6, 0.6), (0.5, 0.5), (0.4, 0.7), (0.3, 0.3)]
    assert non_dominated(points, UP) == [True, True, False, True, False]
    assert dominance_counts(points, UP) == [0, 0, 1, 0, 4]


def test_lower_may_be_better_in_one_objective() -> None:
    """Of two policies with one win rate, the one nearer to its base is better."""
    points = [(0.6, 9.0), (0.6, 3.0), (0.5, 1.0), (0.4, 3.0)]
    assert non_dominated(points, ["higher", "lower"]) == [False, True, True, False]
    assert dominance_counts(points, ["higher", "lower"]) == [1, 0, 0, 2]


def test_three_objectives_keep_what_is_best_in_any_trade() -> None:
    points = [(1, 1, 1), (2, 2, 1), (1, 0, 0), (1, 1, 2), (0, 1, 2)]
    assert dominance_counts(points, MIXED) == [1, 0, 0, 0, 1]


def test_equal_points_share_their_fate() -> None:
    assert non_dominated([(1, 2), (1, 2), (2, 1)], UP) == [True, True, True]
    assert dominance_counts([(1, 1), (1, 1), (2, 1)], UP) == [1, 1, 0]


def test_a_tie_in_one_objective_is_decided_by_the_other() -> None:
    assert dominance_counts([(1, 2), (1, 3)], UP) == [1, 0]


def test_one_point_is_a_front_and_no_point_an_empty_one() -> None:
    assert non_dominated([(3, 4)], UP) == [True] and dominance_counts([(3, 4)], UP) == [0]
    assert non_dominated([], UP) == [] == dominance_counts([], UP)


@pytest.mark.parametrize("points", [[(1.0,)], [(1.0, float("nan"))], [(float("inf"), 1.0)], [1.0, 2.0]])
def test_points_that_are_none_are_refused(points: list[object]) -> None:
    for judge in (non_dominated, dominance_counts):
        with pytest.raises(ValueError, match="point"):
            judge(points, UP)  # type: ignore[operator]


coarse = st.integers(0, 4).map(float)  # few values, so that there are ties and copies
clouds = st.lists(st.tuples(coarse, coarse, coarse), min_size=1, max_size=12)


@given(clouds)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float, float]]) -> None:
    assert non_dominated(points, MIXED) == [count == 0 for count in dominance_counts(points, MIXED)]
    assert any(non_dominated(points, MIXED))


@given(clouds, st.randoms(use_true_random=False))
def test_the_order_of_points_changes_nothing(points: list[tuple[float, float, float]], chance: object) -> None:
    order = list(range(len(points)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    counts = dominance_counts(points, MIXED)
    assert dominance_counts([points[i] for i in order], MIXED) == [counts[i] for i in order]
