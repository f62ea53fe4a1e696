"""Baselines are fair by construction: what they share with the multi-objective run, and how a label is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import events, job, run
from training.config import Recipe, check_recipe, shipped_recipe
from training.errors import BadData, BadSettings
from training.run.artifacts import read_jsonl, write_jsonl
from training.run.baselines import drawn_principle, reward_principles
from training.run.pipeline import StagePlan, identities, plan
from training.stages import draw

FILES = {"prompts": "p", "held_out": "h"}


def recipe(kind: str = "none", **changes: Any) -> Recipe:
    return check_recipe({**shipped_recipe("demo").model_dump(), "baseline": {"kind": kind}, **changes})


def staged(kind: str, **changes: Any) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in plan(recipe(kind, **changes))}


def identities_with(kind: str, **changes: Any) -> dict[str, str]:
    return identities(plan(recipe(kind, **changes)), FILES)


@pytest.mark.parametrize("kind", ["single_pm", "pooled_pm", "single_principle"])
def test_a_baseline_differs_from_the_multi_objective_run_in_its_preference_model_and_in_nothing_else(kind: str) -> None:
    multi, baseline = staged("none"), staged(kind)
    ours, theirs = identities_with("none"), identities_with(kind)
    shared = [name for name in baseline if name in ("sample",) or name.startswith("label:")]
    assert "sample" in shared and {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}
    model = next(stage for stage in baseline.values() if stage.kind == "preference_model")
    other = multi["preference_model:factuality"]
    assert model.settings | {"principle": ""} == other.settings | {"principle": ""}
    assert model.files == other.files
    for name in ("ppo", "evaluate"):
        apart = {key for key in multi[name].settings if multi[name].settings[key] != baseline[name].settings[key]}
        assert apart == ({"principles"} if name == "ppo" else set())
        assert multi[name].settings.keys() == baseline[name].settings.keys()


def test_a_baseline_is_rewarded_by_one_preference_model_of_weight_one() -> None:
    assert reward_principles(recipe("single_pm")) == {"constitution": 1.0}
    assert reward_principles(recipe("single_principle")) == {"factuality": 1.0}
    assert staged("pooled_pm")["weights"].settings == {"weights": {"mode": "set"}, "given": {"constitution": 1.0}}


def test_one_principle_alone_buys_the_labels_of_that_principle_only_and_is_judged_by_all() -> None:
    named = staged("none", baseline={"kind": "single_principle", "principle": "toxicity"})
    assert [name for name in named if name.startswith("label:")] == ["label:toxicity"]
    assert list(named["evaluate"].settings["principles"]) == ["factuality", "toxicity", "sycophancy", "conciseness"]


def test_a_repetition_draws_ppo_anew_and_shares_all_that_comes_before() -> None:
    first, second = identities_with("none"), identities_with("none", repeat=1)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"ppo", "evaluate"}
    assert staged("none", repeat=2)["ppo"].settings["seed"] == 2


def test_what_people_corrected_reaches_the_draw() -> None:
    before = identities(plan(recipe("single_pm")), FILES)
    after = identities(plan(recipe("single_pm")), FILES, {"toxicity": "changed", "factuality": ""})
    assert before["label:toxicity"] == after["label:toxicity"]
    assert before["draw"] != after["draw"] and before["ppo"] != after["ppo"]


def test_the_draw_follows_the_shares_and_the_pair_alone() -> None:
    shares = {"factuality": 0.5, "toxicity": -0.25, "bias": 0.0, "detail": 0.25}
    names = [drawn_principle(f"{n:032x}", shares, seed=0) for n in range(4000)]
    assert names.count("factuality") / 4000 == pytest.approx(0.5, abs=0.03)
    assert names.count("toxicity") / 4000 == pytest.approx(0.25, abs=0.03)
    assert "bias" not in names
    assert drawn_principle(f"{7:032x}", shares, 0) == names[7]
    assert [drawn_principle(f"{n:032x}", shares, 1) for n in range(4000)] != names


def label(pair: int, principle: str, probability: float | None) -> dict[str, Any]:
    return {"pair": f"{pair:032x}", "principle": principle, "probability": probability, "p_shown": probability,
            "p_swapped": probability, "order_gap": 0.0, "error": "" if probability is not None else "no letter"}


def test_a_draw_takes_a_corrected_label_for_the_judges(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "factuality" / "labels.jsonl", [label(n, "factuality", 0.9) for n in range(3)])
    corrected = [label(0, "factuality", 0.0), label(2, "factuality", 0.9)]  # and the second one was rejected
    made = job("draw", tmp_path, {"baseline": "single_pm", "shares": {"factuality": 1.0}, "seed": 0},
               inputs={"label:factuality": tmp_path / "factuality"}, **{"labels:factuality": corrected})
    run(draw.run, made, tmp_path)
    assert {row["pair"]: row["probability"] for row in read_jsonl(tmp_path / "labels.jsonl")} == {
        f"{0:032x}": 0.0, f"{2:032x}": 0.9}


def draw_job(folder: Path, kind: str, shares: dict[str, float], pairs: int = 40) -> list[dict[str, Any]]:
    """The labels drawn from labels of 0.9 for the first principle and 0.2 for the second."""
    inputs = {f"label:{name}": folder / name for name in shares}
    for name, probability in zip(shares, (0.9, 0.2), strict=True):
        write_jsonl(folder / name / "labels.jsonl", (label(n, name, probability) for n in range(pairs)))
    run(draw.run, job("draw", folder, {"baseline": kind, "shares": shares, "seed": 0}, inputs=inputs), folder)
    return list(read_jsonl(folder / "labels.jsonl"))


def test_a_drawn_label_is_the_label_of_the_principle_drawn(tmp_path: Path) -> None:
    rows = draw_job(tmp_path, "single_pm", {"factuality": 0.5, "toxicity": 0.5})
    assert len(rows) == 40
    assert {(row["principle"], row["probability"]) for row in rows} == {("factuality", 0.9), ("toxicity", 0.2)}
    metrics = events(tmp_path, "metric")[-1]["values"]
    assert metrics["draw/factuality"] == sum(row["principle"] == "factuality" for row in rows) / 40


def test_the_label_of_a_principle_with_a_negative_weight_is_turned_round(tmp_path: Path) -> None:
    rows = draw_job(tmp_path, "single_pm", {"factuality": 0.5, "toxicity": -0.5})
    assert {row["probability"] for row in rows if row["principle"] == "toxicity"} == {0.8}


def test_a_pooled_label_is_the_mean_by_share(tmp_path: Path) -> None:
    rows = draw_job(tmp_path, "pooled_pm", {"factuality": 0.75, "toxicity": 0.25})
    assert [row["probability"] for row in rows] == pytest.approx([0.75 * 0.9 + 0.25 * 0.2] * 40)


def test_no_label_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="No pair has a label"):
        draw_job(tmp_path, "single_pm", {"factuality": 0.5, "toxicity": 0.5}, pairs=0)


def test_a_principle_that_the_recipe_lacks_cannot_be_the_baseline() -> None:
    with pytest.raises(BadSettings, match=r"'empathy' is not in this recipe.*factuality"):
        recipe(baseline={"kind": "single_principle", "principle": "empathy"})
