"""The hypervolume: areas and volumes that can be counted on paper, and laws that hold for any points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.fronts.dominance import Direction, non_dominated
from training.fronts.hypervolume import hypervolume

UP: list[Direction] = ["higher", "higher"]
UP3: list[Direction] = ["higher", "higher", "higher"]


def test_one_point_covers_a_rectangle() -> None:
    assert hypervolume([(0.6, 0.5)], (0.0, 0.0), UP) == pytest.approx(0.3)
    assert hypervolume([(0.6, 0.5)], (0.5, 0.3), UP) == pytest.approx(0.02)


def test_two_points_share_what_both_cover() -> None:
    """1 × 3 and 2 × 1 overlap in 1 × 1."""
    assert hypervolume([(1, 3), (2, 1)], (0, 0), UP) == pytest.approx(4.0)


def test_three_objectives_make_a_volume() -> None:
    """Two boxes of 1 × 2 × 3 and 3 × 1 × 2 that overlap in 1 × 1 × 2, and a cube of 1 inside both."""
    assert hypervolume([(1, 2, 3), (3, 1, 2), (1, 1, 1)], (0, 0, 0), UP3) == pytest.approx(6 + 6 - 2)


def test_what_is_better_lower_is_counted_down_from_the_reference() -> None:
    """A win rate of 0.6 at a KL of 2 of at most 5, and of 0.8 at 4: 0.6 × 3 + 0.2 × 1."""
    assert hypervolume([(0.6, 2.0), (0.8, 4.0)], (0.0, 5.0), ["higher", "lower"]) == pytest.approx(2.0)


def test_a_copy_and_a_tie_add_nothing() -> None:
    assert hypervolume([(2, 2), (2, 2), (2, 1)], (0, 0), UP) == pytest.approx(4.0)


@pytest.mark.parametrize("outside", [(5.0, 0.4), (0.4, 5.0), (0.5, 0.9), (0.1, 0.1)])
def test_a_point_outside_the_reference_point_adds_nothing(outside: tuple[float, float]) -> None:
    """Not even where it is far better in the other objective; what lies on the edge has no area either."""
    assert hypervolume([outside], (0.5, 0.5), UP) == 0.0
    assert hypervolume([outside, (0.7, 0.6)], (0.5, 0.5), UP) == pytest.approx(0.02)


def test_no_point_covers_nothing() -> None:
    assert hypervolume([], (0, 0), UP) == 0.0


def test_a_reference_point_of_another_space_is_refused() -> None:
    with pytest.raises(ValueError, match="directions"):
        hypervolume([(1, 1)], (0, 0, 0), UP)


MIXED: list[Direction] = ["higher", "lower", "higher"]
REFERENCE = (1.0, 6.0, -1.0)
values = st.integers(0, 8).map(float)
points = st.tuples(values, values, values)
clouds = st.lists(points, min_size=1, max_size=8)


@given(clouds, st.randoms(use_true_random=False))
def test_the_order_of_points_changes_nothing(cloud: list[tuple[float, float, float]], chance: object) -> None:
    shuffled = list(cloud)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert hypervolume(shuffled, REFERENCE, MIXED) == pytest.approx(hypervolume(cloud, REFERENCE, MIXED))


@given(clouds, points)
def test_another_point_never_lowers_it_and_a_dominated_one_changes_nothing(
    cloud: list[tuple[float, float, float]], added: tuple[float, float, float]
) -> None:
    before, after = hypervolume(cloud, REFERENCE, MIXED), hypervolume([*cloud, added], REFERENCE, MIXED)
    assert after >= before - 1e-9
    if not non_dominated([*cloud, added], MIXED)[-1] or added in cloud:
        assert after == pytest.approx(before)


@given(clouds)
def test_it_is_the_number_of_unit_cubes_that_some_point_covers(cloud: list[tuple[float, float, float]]) -> None:
    """Whole coordinates: counted cube by cube."""
    cubes = {(x, y, z) for a, b, c in cloud for x in range(1, int(a)) for y in range(int(b), 6)
             for z in range(-1, int(c))}
    assert hypervolume(cloud, REFERENCE, MIXED) == pytest.approx(len(cubes))
