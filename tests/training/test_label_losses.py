"""Soft, hard and margin labels: hand-worked losses, and what all three have in common."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.config import LabelUse
from training.preference_models import label_loss

USES: tuple[LabelUse, ...] = ("soft", "hard", "margin")


def loss(use: LabelUse, difference: float, probability: float) -> float:
    return label_loss(use, torch.tensor([difference]), torch.tensor([probability])).item()


def test_a_soft_label_keeps_the_judges_probability() -> None:
    # sigmoid(ln 3) = 3/4.
    assert loss("soft", math.log(3), 0.8) == pytest.approx(-0.8 * math.log(3 / 4) - 0.2 * math.log(1 / 4))


def test_a_hard_label_keeps_its_side_alone() -> None:
    assert loss("hard", math.log(3), 0.6) == loss("hard", math.log(3), 0.99) == pytest.approx(math.log(4 / 3))
    assert loss("hard", math.log(3), 0.4) == pytest.approx(math.log(4))


def test_a_margin_is_what_the_chosen_one_has_to_win_by() -> None:
    # The judge says 3/4, its log-odds are ln 3: a difference of ln 9 leaves ln 3, and sigmoid(ln 3) = 3/4.
    assert loss("margin", math.log(9), 0.75) == pytest.approx(math.log(4 / 3), rel=1e-5)
    assert loss("margin", -math.log(9), 0.25) == pytest.approx(math.log(4 / 3), rel=1e-5)
    assert loss("margin", 0.0, 0.75) == pytest.approx(math.log(4), rel=1e-5)


def test_the_margin_of_a_sure_label_is_ten() -> None:
    assert loss("margin", 10.0, 1.0) == pytest.approx(math.log(2), rel=1e-5)
    assert loss("margin", -10.0, 0.0) == pytest.approx(math.log(2), rel=1e-5)


def test_a_missing_label_costs_nothing_and_moves_nothing() -> None:
    for use in USES:
        difference = torch.tensor([1.0, 2.0], requires_grad=True)
        label_loss(use, difference, torch.tensor([math.nan, 0.9])).sum().backward()
        assert difference.grad is not None
        assert difference.grad[0] == 0 and difference.grad[1] != 0


@given(st.floats(-20, 20), st.floats(0, 1, width=32))
def test_no_loss_depends_on_which_response_is_called_a(difference: float, probability: float) -> None:
    for use in USES:
        assert loss(use, difference, probability) == pytest.approx(loss(use, -difference, 1 - probability), rel=1e-3,
                                                                   abs=1e-4)


@given(st.floats(-20, 20))
def test_where_the_judge_is_undecided_all_three_agree(difference: float) -> None:
    assert loss("soft", difference, 0.5) == loss("hard", difference, 0.5) == loss("margin", difference, 0.5)


@given(st.floats(-20, 20), st.floats(0.51, 1))
def test_a_margin_asks_for_more_than_a_hard_label(difference: float, probability: float) -> None:
    assert loss("margin", difference, probability) >= loss("hard", difference, probability)
