"""The weights stage: shares of what was set, or a fit to what people chose."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.stage_folders import events, job, run
from training.errors import BadData
from training.quality import weight_fit
from training.quality.weight_fit import ablation, fit, intervals
from training.run.artifacts import read_json, write_jsonl
from training.stages import weights


def scored(folder: Path, names: list[str], rows: list[dict[str, Any]]) -> dict[str, Path]:
    """Folders of preference models whose scores of `a` are given by name and whose scores of `b` are 0."""
    for name in names:
        write_jsonl(folder / name / "scores.jsonl", (
            {"pair": str(n), "z_a": row[name], "z_b": 0.0, "human": row["human"], "held_out": row.get("held_out")}
            for n, row in enumerate(rows)))
    return {f"preference_model:{name}": folder / name for name in names}


def test_set_weights_become_shares_with_their_signs(tmp_path: Path) -> None:
    made = job("weights", tmp_path, {"weights": {"mode": "set"}, "given": {"detail": 2.0, "toxicity": -1, "bias": 1}})
    run(weights.run, made, tmp_path)
    stored = read_json(tmp_path / "weights.json")
    assert stored["weights"] == {"detail": 0.5, "toxicity": -0.25, "bias": 0.25}
    assert (stored["mode"], stored["n"]) == ("set", 0)


def test_the_fit_finds_the_weights_that_people_chose_by(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(1500):
        detail, toxicity = draw.gauss(0, 1), draw.gauss(0, 1)
        p = 1 / (1 + 2.718281828 ** -(1.5 * detail - 0.5 * toxicity))
        rows.append({"detail": detail, "toxicity": toxicity, "human": float(draw.random() < p)})
    inputs = scored(tmp_path, ["detail", "toxicity"], rows)
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0, "toxicity": 1.0}},
               inputs=inputs)
    run(weights.run, made, tmp_path)
    stored = read_json(tmp_path / "weights.json")
    assert stored["weights"] == {"detail": pytest.approx(0.75, abs=0.05), "toxicity": pytest.approx(-0.25, abs=0.05)}
    assert (stored["n"], stored["rows"]) == (1500, "all")
    [warning] = events(tmp_path, "warning")
    assert warning["code"] == "sign_flip" and "toxicity" in warning["message"]


def test_mirrored_rows_make_the_order_of_a_pair_meaningless() -> None:
    fitted = fit([[1.0], [2.0], [-1.0]], [1.0, 0.0, 0.0])
    turned = fit([[-1.0], [-2.0], [1.0]], [0.0, 1.0, 1.0])
    assert fitted == pytest.approx(turned)


def test_pairs_no_model_has_seen_are_preferred_where_there_are_enough(tmp_path: Path) -> None:
    rows = [{"detail": 1.0 if n % 2 else -1.0, "human": float(n % 2), "held_out": n < 60} for n in range(200)]
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0}},
               inputs=scored(tmp_path, ["detail"], rows))
    run(weights.run, made, tmp_path)
    stored = read_json(tmp_path / "weights.json")
    assert (stored["n"], stored["rows"]) == (60, "held_out")


def test_no_human_choice_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    inputs = scored(tmp_path, ["detail"], [{"detail": 1.0, "human": None}])
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0}}, inputs=inputs)
    with pytest.raises(BadData, match=r"no pair of this data carries a person's choice.*or set the weights"):
        run(weights.run, made, tmp_path)


def choices(count: int, *by: float, seed: int = 0) -> tuple[list[list[float]], list[float]]:
    """Differences drawn at random, and choices by these weights, with a person's usual error."""
    draw = random.Random(seed)
    rows = [[draw.gauss(0, 1) for _ in by] for _ in range(count)]
    odds = [sum(weight * z for weight, z in zip(by, row, strict=True)) for row in rows]
    return rows, [float(draw.random() < 1 / (1 + 2.718281828 ** -x)) for x in odds]


def test_the_intervals_hold_the_weights_that_people_chose_by_and_narrow_with_more_choices() -> None:
    few, many = (intervals(*choices(count, 1.5, -0.5)) for count in (150, 1200))
    for low, high in (few[0], many[0]):
        assert low < 0.75 < high
    for low, high in (few[1], many[1]):
        assert low < -0.25 < high
    assert many[0][1] - many[0][0] < (few[0][1] - few[0][0]) / 1.5


def test_leaving_out_what_people_choose_by_costs_accuracy_and_leaving_out_noise_costs_none() -> None:
    result = ablation(["detail", "noise"], *choices(1500, 2.0, 0.0))
    assert result["accuracy"]["value"] > 0.75 and result["orders"] == 2
    assert result["alone"]["detail"] > 0.2 and abs(result["alone"]["noise"]) < 0.03
    assert sum(result["in_orders"].values()) == pytest.approx(result["accuracy"]["value"] - 0.5)


def test_two_principles_that_say_the_same_share_their_worth_in_orders_and_hide_it_alone() -> None:
    rows, chosen = choices(1500, 2.0)
    result = ablation(["detail", "again"], [[row[0], row[0]] for row in rows], chosen)
    assert result["alone"] == {"detail": pytest.approx(0, abs=0.01), "again": pytest.approx(0, abs=0.01)}
    assert result["in_orders"]["detail"] == pytest.approx(result["in_orders"]["again"], abs=0.02)
    assert result["in_orders"]["detail"] > 0.1


def test_many_principles_are_dropped_in_several_random_orders() -> None:
    names = [f"p{n}" for n in range(6)]
    result = ablation(names, *choices(300, 2.0, 1.0, 0.5, 0.0, 0.0, 0.0))
    assert result["orders"] == 8 and len(result["dropped"]) == 6
    assert result["dropped"][0] == pytest.approx(result["accuracy"]["value"])
    assert result["dropped"][0] > result["dropped"][-1]


def test_fitted_weights_are_written_with_how_far_they_can_be_trusted(tmp_path: Path) -> None:
    rows, chosen = choices(200, 1.0, 0.0)
    inputs = scored(tmp_path, ["detail", "bias"], [
        {"detail": row[0], "bias": row[1], "human": choice} for row, choice in zip(rows, chosen, strict=True)])
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0, "bias": 1.0}},
               inputs=inputs)
    run(weights.run, made, tmp_path)
    stored = read_json(tmp_path / "weights.json")
    low, high = stored["intervals"]["detail"]
    assert low < stored["weights"]["detail"] < high
    assert stored["ablation"]["accuracy"]["n"] == 200 and set(stored["ablation"]["alone"]) == {"detail", "bias"}
    assert any("bias could have either sign" in event["message"] for event in events(tmp_path, "log"))


def test_choices_made_by_chance_are_predicted_by_chance_however_many_principles_there_are() -> None:
    draw = random.Random(3)
    differences = [[draw.gauss(0, 1) for _ in range(15)] for _ in range(60)]
    choices = [float(draw.random() < 0.5) for _ in range(60)]
    share, decided = weight_fit._cross_validated(np.array(differences), np.array(choices), seed=0)
    assert decided == 60 and share < 0.62, "weights that had seen the row would say three of four right"
