"""Who beats whom, by hand: the matrix of several policies on the same prompts, and how each fares against all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.quality.head_to_head import opposite, pairs_of, standings, win_matrix
from training.quality.win_rates import win_rate


def test_every_two_policies_meet_once() -> None:
    assert pairs_of(4) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


def test_three_policies_on_four_prompts_by_hand() -> None:
    """0 beats 1 on three of four prompts and loses one; ties 2 twice and beats it twice; 1 and 2 have two verdicts."""
    columns = {(0, 1): [0.9, 0.9, 0.8, 0.1], (0, 2): [0.5, 0.5, 0.7, 0.7], (1, 2): [0.2, None, None, 0.9]}
    matrix = win_matrix(columns, 3)
    shares = [[cell.win_rate if cell else None for cell in row] for row in matrix]
    assert shares == [[None, 0.75, 0.75], [0.25, None, 0.5], [0.25, 0.5, None]]
    assert matrix[0][1] is not None and (matrix[0][1].wins, matrix[0][1].losses) == (3, 1)
    assert matrix[1][0] is not None and (matrix[1][0].wins, matrix[1][0].losses) == (1, 3)
    assert matrix[0][2] is not None and matrix[0][2].ties == 2
    assert matrix[1][2] is not None and matrix[1][2].n == 2


def test_how_each_fares_against_all_others_by_hand() -> None:
    """Policy 0 by prompt: (1 + ½)/2, (1 + ½)/2, (1 + 1)/2, (0 + 1)/2: a mean of 0.75. The two prompts without a verdict
    between 1 and 2 count what they have: policy 1 has (0 + 0)/2, 0, 0, (1 + 1)/2."""
    columns = {(0, 1): [0.9, 0.9, 0.8, 0.1], (0, 2): [0.5, 0.5, 0.7, 0.7], (1, 2): [0.2, None, None, 0.9]}
    first, second, third = standings(columns, 3)
    assert first is not None and first.share == pytest.approx(0.75) and first.n == 4
    assert second is not None and second.share == pytest.approx(0.25)
    assert third is not None and third.share == pytest.approx((0.75 + 0.5 + 0 + 0) / 4)
    assert first.low < 0.75 < first.high <= 1


def test_without_a_verdict_there_is_no_number() -> None:
    assert win_matrix({(0, 1): [None, None]}, 2) == [[None, None], [None, None]]
    assert standings({(0, 1): [None]}, 2) == [None, None]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40))
def test_both_sides_of_a_pair_add_up_to_one(column: list[float | None]) -> None:
    matrix = win_matrix({(0, 1): column}, 2)
    first, second = matrix[0][1], matrix[1][0]
    if first is None:
        assert second is None and not any(p is not None for p in column)
        return
    assert second is not None
    assert first.win_rate + second.win_rate == pytest.approx(1)
    assert first.low + second.high == pytest.approx(1) and first.high + second.low == pytest.approx(1)
    assert (first.wins, first.ties, first.losses) == (second.losses, second.ties, second.wins)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=40))
def test_the_opposite_of_the_opposite_is_the_same(column: list[float | None]) -> None:
    rate = win_rate(column)
    assert opposite(opposite(rate))._asdict() == pytest.approx(rate._asdict())


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=6, max_size=6))
def test_the_shares_of_all_policies_average_one_half(rows: list[list[float]]) -> None:
    columns = dict(zip(pairs_of(4), rows, strict=True))
    shares = [standing.share for standing in standings(columns, 4) if standing is not None]
    assert sum(shares) / 4 == pytest.approx(0.5)
