"""Shares, their intervals and the verdicts on the paper's claims, from numbers worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.config.paper_experiment import SCALARIZATIONS
from training.paper.statistics import Share, share_agreeing, share_right, share_won, turned
from training.paper.verdicts import share_text, verdicts


def test_a_win_rate_is_counted_over_seeds_and_prompts_and_shown_for_each_seed() -> None:
    won = share_won(np.array([[1.0, 0.5, 0.0, 1.0], [1.0, 1.0, np.nan, 0.0]]))
    assert (won.value, won.n) == (pytest.approx(4.5 / 7), 7)
    assert won.by_seed == (pytest.approx(2.5 / 4), pytest.approx(2 / 3))
    assert won.low <= won.value <= won.high


def test_seeds_that_disagree_widen_the_interval_more_than_prompts_alone_would() -> None:
    draw = np.random.default_rng(0)
    alike = (draw.random((3, 300)) < 0.6).astype(float)
    apart = np.stack([(draw.random(300) < rate).astype(float) for rate in (0.4, 0.6, 0.8)])
    narrow, wide = share_won(alike), share_won(apart)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_prompts_that_every_seed_wins_or_loses_are_not_counted_as_many() -> None:
    same = np.tile((np.arange(300) % 2).astype(float), (3, 1))
    won = share_won(same)
    assert won.n == 900 and won.high - won.low == pytest.approx(2 * 1.96 * (0.25 / 300) ** 0.5, rel=0.15)


def test_the_other_side_of_a_share_is_what_is_left() -> None:
    lost = turned(Share(0.7, 0.6, 0.75, 10, (0.7,)))
    assert lost[:4] == pytest.approx((0.3, 0.25, 0.4, 10)) and lost.by_seed == pytest.approx((0.3,))


def test_undecided_pairs_count_neither_for_nor_against() -> None:
    assert share_right([1.0, -1.0, 2.0, 3.0], [0.9, 0.9, 0.5, 1.0])[::3] == (pytest.approx(2 / 3), 3)
    assert share_agreeing([0.9, 0.1, 0.5, 0.8], [0.6, 0.8, 0.9, 0.7])[::3] == (pytest.approx(2 / 3), 3)


def share(value: float, reach: float = 0.03, seeds: tuple[float, ...] = ()) -> dict[str, Any]:
    return Share(value, value - reach, value + reach, 900, seeds or (value,)).as_json()


def results(single: dict[str, Any], worst: dict[str, Any], small: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything at a half, but for linear over the single PM, worst_case over linear, and small models."""
    names = [*SCALARIZATIONS, "single_pm", "pooled_pm", "small_pms_1"]
    cells: dict[str, dict[str, Any]] = {row: {column: share(0.5) for column in names if column != row} for row in names}
    cells["linear"]["single_pm"] = single
    cells["worst_case"]["linear"] = worst
    cells["linear"]["worst_case"] = turned(Share(*{**worst, "by_seed": tuple(worst["by_seed"])}.values())).as_json()
    groups = {name: "scalarization" if name in SCALARIZATIONS else "baseline" for name in names}
    return {"win_matrix": {"names": names, "titles": {name: name.replace("_", " ") for name in names},
                           "groups": groups, "cells": cells},
            "small_models": [{"arm": "small_pms_1", "title": "1 layer", "models": 10, "policy": 30}] if small else [],
            "against_base": {"small_pms_1": small}}


def test_claims_that_the_numbers_bear_out_are_held() -> None:
    claims = verdicts(results(share(0.6), share(0.55), share(0.8)))
    assert [claim.held for claim in claims] == ["held", "held", "held"]
    assert "linear over the single PM 60.0 % (57.0 to 63.0, n = 900; seeds 60)" in claims[0].numbers
    assert "10 parameters for a policy of 30: 80.0 %" in claims[1].numbers
    assert "worst case over linear, 55.0 %" in claims[2].numbers


def test_a_seed_on_the_other_side_leaves_a_claim_undecided() -> None:
    assert verdicts(results(share(0.6, seeds=(0.7, 0.7, 0.45)), share(0.5)))[0].held == "undecided"


def test_claims_that_the_numbers_contradict_are_not_held_here() -> None:
    claims = verdicts(results(share(0.4), share(0.7), share(0.3)))
    assert [claim.held for claim in claims] == ["not held here"] * 3
    assert "1 of them wholly outside" in claims[2].numbers


def test_functions_that_differ_by_more_than_the_paper_found_but_not_for_sure_are_undecided() -> None:
    assert verdicts(results(share(0.6), share(0.6, reach=0.05)))[2].held == "undecided"


def test_without_smaller_models_their_claim_is_not_tested() -> None:
    assert verdicts(results(share(0.6), share(0.5)))[1].held == "not tested"


def test_a_share_is_told_with_its_interval_and_seeds() -> None:
    assert share_text(share(0.712, seeds=(0.7, 0.724))) == "71.2 % (68.2 to 74.2, n = 900; seeds 70, 72)"
