"""The weights stage: shares of what was set, or a fit to what people chose."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import events, job, run
from training.artifacts import read_json, write_jsonl
from training.errors import BadData
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
    found = read_json(tmp_path / "weights.json")
    assert found["weights"] == {"detail": 0.5, "toxicity": -0.25, "bias": 0.25}
    assert (found["mode"], found["n"]) == ("set", 0)


def test_the_fit_finds_the_weights_that_people_chose_by(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = []
    for _ in range(4000):
        detail, toxicity = draw.gauss(0, 1), draw.gauss(0, 1)
        p = 1 / (1 + 2.718281828 ** -(1.5 * detail - 0.5 * toxicity))
        rows.append({"detail": detail, "toxicity": toxicity, "human": float(draw.random() < p)})
    inputs = scored(tmp_path, ["detail", "toxicity"], rows)
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0, "toxicity": 1.0}},
               inputs=inputs)
    run(weights.run, made, tmp_path)
    found = read_json(tmp_path / "weights.json")
    assert found["weights"] == {"detail": pytest.approx(0.75, abs=0.03), "toxicity": pytest.approx(-0.25, abs=0.03)}
    assert (found["n"], found["rows"]) == (4000, "all")
    [warning] = events(tmp_path, "warning")
    assert warning["code"] == "sign_flip" and "toxicity" in warning["message"]


def test_mirrored_rows_make_the_order_of_a_pair_meaningless() -> None:
    one = weights.fit([[1.0], [2.0], [-1.0]], [1.0, 0.0, 0.0])
    turned = weights.fit([[-1.0], [-2.0], [1.0]], [0.0, 1.0, 1.0])
    assert one == pytest.approx(turned)


def test_pairs_no_model_has_seen_are_preferred_where_there_are_enough(tmp_path: Path) -> None:
    rows = [{"detail": 1.0 if n % 2 else -1.0, "human": float(n % 2), "held_out": n < 60} for n in range(200)]
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0}},
               inputs=scored(tmp_path, ["detail"], rows))
    run(weights.run, made, tmp_path)
    found = read_json(tmp_path / "weights.json")
    assert (found["n"], found["rows"]) == (60, "held_out")


def test_no_human_choice_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    inputs = scored(tmp_path, ["detail"], [{"detail": 1.0, "human": None}])
    made = job("weights", tmp_path, {"weights": {"mode": "fitted"}, "given": {"detail": 1.0}}, inputs=inputs)
    with pytest.raises(BadData, match=r"no pair of this data carries a person's choice.*or set the weights"):
        run(weights.run, made, tmp_path)
