"""What a judge's verdicts are worth beside people's choices: agreement, kappa, position, length, consistency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.quality.judge_calibration import JudgedPair, judge_calibration, kappas


def pairs(table: dict[tuple[float, float], int]) -> list[JudgedPair]:
    """So many pairs for each (people's choice, judge's probability)."""
    return [JudgedPair(person, judge) for (person, judge), count in table.items() for _ in range(count)]


def test_agreement_and_kappa_of_cohens_table() -> None:
    """Fifty pairs: both A 20, both B 15, people alone A 5, the judge alone A 10: raw 0.7, chance 0.5, kappa 0.4."""
    of_judge = judge_calibration(pairs({(1, 0.9): 20, (0, 0.2): 15, (1, 0.1): 5, (0, 0.8): 10}))
    assert of_judge.agreement is not None and of_judge.kappa is not None
    assert of_judge.agreement.value == 0.7 and of_judge.agreement.n == 50
    assert of_judge.kappa.value == pytest.approx(0.4)
    assert of_judge.kappa.low < 0.4 < of_judge.kappa.high and of_judge.kappa.high - of_judge.kappa.low > 0.3


def test_ties_and_silence_name_no_winner() -> None:
    of_judge = judge_calibration([JudgedPair(0.5, 0.9), JudgedPair(1, 0.5), JudgedPair(1, None), JudgedPair(0, 0.1)])
    assert of_judge.agreement is not None and (of_judge.agreement.value, of_judge.agreement.n) == (1.0, 1)
    assert of_judge.silent == 1


def test_a_judge_that_always_takes_the_first_one_has_no_kappa_and_flips_always() -> None:
    """With A first it says A, with B first B: the mean of both orders is a half, which names no winner."""
    of_judge = judge_calibration([JudgedPair(person, 0.5, 0.9, 0.1) for person in (1, 0, 1, 0)])
    assert of_judge.first is not None and (of_judge.first.value, of_judge.first.n) == (1.0, 8)
    assert of_judge.flips is not None and of_judge.flips.value == 1.0
    assert of_judge.agreement is None and of_judge.kappa is None


def test_a_judge_without_position_bias_takes_the_first_one_half_of_the_time() -> None:
    of_judge = judge_calibration([JudgedPair(1, 0.9, 0.9, 0.9), JudgedPair(0, 0.2, 0.2, 0.2)])
    assert of_judge.first is not None and of_judge.first.value == 0.5
    assert of_judge.flips is not None and of_judge.flips.value == 0.0


def test_length_is_compared_on_the_same_pairs() -> None:
    """The judge takes the longer one of all four, people of two; pairs of equal length say nothing."""
    rows = [JudgedPair(person, 0.9, length_a=20, length_b=10) for person in (1, 1, 0, 0)]
    of_judge = judge_calibration([*rows, JudgedPair(1, 0.1, length_a=10, length_b=10)])
    assert of_judge.longer is not None and of_judge.people_longer is not None and of_judge.takes_longer is not None
    assert (of_judge.longer.value, of_judge.people_longer.value, of_judge.longer.n) == (1.0, 0.5, 4)
    assert of_judge.takes_longer.value == 0.5
    assert of_judge.always_a is not None and of_judge.always_a.value == pytest.approx(3 / 5)


def test_consistency_counts_pairs_that_were_asked_again() -> None:
    of_judge = judge_calibration([JudgedPair(1, 0.9, again=0.7), JudgedPair(1, 0.9, again=0.3), JudgedPair(1, 0.9),
                               JudgedPair(1, 0.9, again=0.5)])
    assert of_judge.consistency is not None and (of_judge.consistency.value, of_judge.consistency.n) == (0.5, 2)


def test_where_chance_agrees_fully_there_is_no_kappa() -> None:
    of_judge = judge_calibration(pairs({(1, 0.9): 8}))
    assert of_judge.kappa is None and of_judge.agreement is not None and of_judge.agreement.value == 1.0


def test_nothing_is_said_of_no_pairs() -> None:
    assert judge_calibration([]) == (None,) * 9 + (0,)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1), st.integers(0, 9), st.integers(0, 9)),
                max_size=40))
def test_naming_the_responses_the_other_way_round_changes_nothing(rows: list[tuple[float, float, int, int]]) -> None:
    one_way = judge_calibration([JudgedPair(person, judge, judge, judge, judge, a, b) for person, judge, a, b in rows])
    other = judge_calibration([JudgedPair(1 - person, 1 - judge, 1 - judge, 1 - judge, 1 - judge, b, a)
                               for person, judge, a, b in rows])
    for name in ("agreement", "flips", "longer", "people_longer", "consistency", "takes_longer"):
        assert getattr(one_way, name) == getattr(other, name)
    assert (one_way.kappa is None) == (other.kappa is None)
    if one_way.kappa is not None and other.kappa is not None:
        assert one_way.kappa.value == pytest.approx(other.kappa.value)


def test_intervals_of_kappa_hold_the_truth_about_as_often_as_they_say() -> None:
    truth = np.array([0.4, 0.1, 0.1, 0.4])  # kappa 0.6
    draw, held = np.random.default_rng(1), 0
    for seed in range(200):
        counts = draw.multinomial(120, truth)
        cells = [(1.0, 0.9), (1.0, 0.1), (0.0, 0.9), (0.0, 0.1)]
        kappa = judge_calibration(pairs(dict(zip(cells, map(int, counts), strict=True))), seed).kappa
        held += kappa is not None and kappa.low <= kappas(truth[None])[0] <= kappa.high
    assert 180 <= held <= 200
