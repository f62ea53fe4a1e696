"""Agreement beyond chance, worked by hand and held against scikit-learn's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from webapp.labels.agreement import Agreement, in_words, relation

COUNTS = st.integers(min_value=0, max_value=200)


def test_a_table_worked_by_hand() -> None:
    agreement = Agreement(both_a=20, first_a=5, second_a=10, both_b=15)  # Cohen's own kind of example

    assert agreement.n == 50
    assert agreement.raw == pytest.approx(0.7)
    assert agreement.base_rates == pytest.approx((0.5, 0.6))
    assert agreement.kappa == pytest.approx(0.4)  # chance is 0.5 * 0.6 + 0.5 * 0.4 = 0.5


def test_high_agreement_can_be_chance_alone() -> None:
    agreement = Agreement(both_a=90, first_a=5, second_a=5, both_b=0)

    assert agreement.raw == pytest.approx(0.9)
    assert agreement.kappa is not None
    assert agreement.kappa < 0


def test_nothing_compared_tells_nothing() -> None:
    agreement = Agreement(0, 0, 0, 0)

    assert agreement.n == 0
    assert (agreement.raw, agreement.kappa, agreement.interval, agreement.base_rates) == (None, None, None, None)


def test_two_who_always_say_a_have_no_kappa() -> None:
    assert Agreement(10, 0, 0, 0).kappa is None


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_kappa_is_that_of_scikit_learn(both_a: int, first_a: int, second_a: int, both_b: int) -> None:
    agreement = Agreement(both_a, first_a, second_a, both_b)
    first = [1] * (both_a + first_a) + [0] * (second_a + both_b)
    second = [1] * both_a + [0] * first_a + [1] * second_a + [0] * both_b
    if agreement.kappa is not None:
        assert agreement.kappa == pytest.approx(cohen_kappa_score(first, second, labels=[0, 1]))


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_interval_holds_the_raw_agreement(both_a: int, first_a: int, second_a: int, both_b: int) -> None:
    agreement = Agreement(both_a, first_a, second_a, both_b)
    if agreement.raw is not None and agreement.interval is not None:
        low, high = agreement.interval
        assert 0 <= low <= agreement.raw + 1e-9
        assert agreement.raw - 1e-9 <= high <= 1


@pytest.mark.parametrize(("counts", "expected"), [
    ((50, 2, 2, 46), "duplicate"), ((2, 50, 46, 2), "conflict"), ((30, 20, 20, 30), ""),
    ((10, 0, 0, 10), ""),  # too few pairs to say so
])
def test_two_principles_are_near_duplicates_or_in_conflict(
        counts: tuple[int, int, int, int], expected: str) -> None:
    assert relation(Agreement(*counts)) == expected


def test_kappa_has_words() -> None:
    assert [in_words(kappa) for kappa in (None, -0.2, 0.1, 0.5, 0.95)] == [
        "undefined", "none", "slight", "moderate", "almost perfect"]
