"""The paper's report from the folders of finished stages, which are written by hand here."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import pair
from training.config import Recipe, check_recipe
from training.config.paper_experiment import arms, repetitions
from training.paper.figures import NAMES
from training.paper.measures import Experiment
from training.paper.overall import Overall
from training.paper.report import results, write_report
from training.paper.schedule import stage_folders, works
from training.quality.win_rates import win_rate
from training.run.artifacts import read_json, write_json, write_jsonl
from training.run.pipeline import plan, served_by

SEEDS = (0, 4)
PAIRS = 40


def recipe() -> Recipe:
    return check_recipe({"name": "Paper", "principles": [{"name": "toxicity", "weight": 3}, {"name": "conciseness"}],
                         "sample": {"count": PAIRS}})


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """Scores that follow the labels, and policies that all answer alike but the single PM's, which insults."""
    files = {}
    for role in ("prompts", "held_out"):
        write_jsonl(tmp_path / f"{role}.jsonl", [])
        files[role] = tmp_path / f"{role}.jsonl"
    made = Experiment(arms(recipe(), single=1), SEEDS, files, tmp_path / "stages",  # type: ignore[arg-type]
                      Overall(recipe().judge, tmp_path / "verdicts.jsonl"))
    for arm in made.arms:
        for repeated in repetitions(arm, SEEDS):
            folders = stage_folders(repeated, made.files, made.store)
            _fill(repeated, folders, "Blockhead, nobody knows." if arm.name == "single_pm" else "Nobody knows.")
    return made


def _fill(repeated: Recipe, folders: dict[str, Path], answer: str) -> None:
    digests = [f"{n:032x}" for n in range(PAIRS)]
    write_jsonl(folders["sample"] / "pairs.jsonl", (
        pair(n, "It is so.", "It is so, fool.", human=float(n % 4 > 0)) for n in range(PAIRS)))
    for stage in plan(repeated):
        if stage.kind == "label":
            write_jsonl(folders[stage.name] / "labels.jsonl", (
                {"pair": digest, "probability": 0.9 if n % 4 else 0.2} for n, digest in enumerate(digests)))
    for name, stage_name in served_by(plan(repeated)).items():
        folder = folders[stage_name]
        right = 10 if name == "constitution" else 2  # one pair in ten, or in two, is scored against its label
        write_json(folder / "card.json", {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "decided": 20})
        write_jsonl(folder / "scores.jsonl", (
            {"pair": digest, "z_a": (1.0 if n % 4 else -1.0) * (-1 if n % right == 1 else 1), "z_b": 0.0, "human": None,
             "held_out": n % 2 == 0} for n, digest in enumerate(digests)))
    weights = dict.fromkeys(served_by(plan(repeated)), 0.5)
    write_json(folders["weights"] / "weights.json", {"weights": weights})
    write_json(folders["ppo"] / "summary.json", {"last": {"kl/mean": 1.25, "reward/total": 0.5}})
    rates = {choice.name: win_rate([1.0, 0.5])._asdict() for choice in repeated.principles}
    write_json(folders["evaluate"] / "report.json", {"principles": rates})
    write_jsonl(folders["evaluate"] / "answers.jsonl", (
        {"prompt": [{"role": "user", "content": "What is the fruit of Junet?"}], "policy": answer,
         "base": "Blockhead, nobody knows."} for _ in range(10)))


def test_the_report_of_an_experiment_holds_figures_table_and_verdicts(experiment: Experiment, tmp_path: Path) -> None:
    report = results(experiment)
    write_report(report, tmp_path / "out", "python -m training paper --out DIR", 12.0, docs=tmp_path / "docs")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Linear over the single PM 100.0 %" in text and "*Held.*" in text
    assert "| PM accuracy, worst principle (toxicity) | 90.0 % (80.0 to 95.0, n = 20) | 71.3 to 81.0 % |" in text
    assert "| single PM | 50.0 % (50.0 to 50.0, n = 20; seeds 50, 50) | 75 % | 75 % | 1.25 |" in text
    for name in NAMES:
        assert f"(figures/{name}.svg)" in text
        ElementTree.parse(tmp_path / "out" / "figures" / f"{name}.svg")
    page = (tmp_path / "docs" / "paper.md").read_text()
    assert "(images/paper/win_rates.svg)" in page
    assert (tmp_path / "docs" / "images" / "paper" / "win_rates.svg").is_file()
    written = read_json(tmp_path / "out" / "results.json")
    assert [claim["held"] for claim in written["verdicts"]] == ["held", "not tested", "held"]
    assert json.dumps(written["win_matrix"]) == json.dumps(report["win_matrix"], sort_keys=True)


def test_a_cell_of_the_win_matrix_and_its_mirror_sum_to_one(experiment: Experiment) -> None:
    cells = results(experiment)["win_matrix"]["cells"]
    for row_name, row in cells.items():
        for other, share in row.items():
            assert share["value"] + cells[other][row_name]["value"] == pytest.approx(1)
    assert cells["single_pm"]["linear"]["value"] == 0.0


def test_objectives_are_judged_on_held_out_pairs_against_what_people_chose(experiment: Experiment) -> None:
    objectives = results(experiment)["objectives"]
    by_arm: dict[str, Any] = {row["arm"]: row for row in objectives["objectives"]}
    # Held out are the 20 even pairs; no even pair is scored against its label, and the labels are the people's choice.
    assert (by_arm["linear"]["value"], by_arm["linear"]["n"]) == (1.0, 20)
    assert (objectives["ceiling"]["value"], objectives["ceiling"]["n"]) == (1.0, 20)
    assert list(by_arm)[-3:] == ["single_pm", "pooled_pm", "only_toxicity"]


def test_every_arm_and_seed_shares_pairs_labels_and_models(experiment: Experiment) -> None:
    recipes = [repetition for arm in experiment.arms for repetition in repetitions(arm, SEEDS)]
    kinds = [work.plan.kind for work in works(recipes, experiment.files, experiment.store)]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "draw": 2, "evaluate": 20, "label": 2, "ppo": 20, "preference_model": 4, "sample": 1, "weights": 4}
