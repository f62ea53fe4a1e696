"""Measures that are the reward themselves, and gauges that are only watched: in a recipe, in its plan, in numbers by
hand, and in a whole small run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.stage_folders import events, job, pair, run
from tests.training.tiny_models import (
    PROMPTS,
    Remembering,
    make_base,
    make_job,
    make_preference_model,
    make_recipe,
)
from training.config import Recipe, Scalarization, as_yaml, check_recipe, parse_recipe, shipped_recipe
from training.demo_world import language
from training.dialogue import Dialogue
from training.errors import BadSettings, MeasureFailed
from training.measures import scale
from training.measures.scale import Scale
from training.measures.words import sentences, words
from training.quality.intervals import mean_interval
from training.reward.measured import ComposedScores, Gauges, MeasuredScores
from training.reward.rewards import PrincipleRewards
from training.run.artifacts import read_json, read_jsonl, write_json
from training.run.checks import bases_of, check_job
from training.run.device import Device
from training.run.memory_plan import run_memory
from training.run.pipeline import identities, plan, served_by
from training.stages import ppo, weights
from training.stages.before_and_after import means_of_measures

WORDS = {"kind": "words", "toward": "low"}
BREVITY = {"name": "brevity", "weight": 1, "measure": WORDS, "serves": "reward"}
SENTENCES = {"name": "sentences", "weight": 7, "measure": {"kind": "sentences"}, "serves": "gauge"}
DIGESTS: Any = {"prompts": "p", "held_out": "h", "pairs": "x", "dialogues": "d"}


def recipe_of(*principles: dict[str, Any], **sections: Any) -> Recipe:
    return check_recipe({"principles": principles, **sections})


# In a recipe ----------------------------------------------------------------------------------------------------------


def test_it_is_written_only_where_it_is_not_labels() -> None:
    as_labels = recipe_of({"name": "brevity", "measure": WORDS, "serves": "labels"}, {"name": "detail"})
    assert "serves" not in as_yaml(as_labels) and "serves" not in as_yaml(shipped_recipe("demo"))
    text = as_yaml(recipe_of(BREVITY, {"name": "detail"}, SENTENCES))
    assert text.count("serves: reward") == text.count("serves: gauge") == 1
    assert parse_recipe(text) == recipe_of(BREVITY, {"name": "detail"}, SENTENCES)


def test_the_weight_of_a_gauge_does_not_count() -> None:
    recipe = recipe_of({"name": "detail", "weight": 3}, BREVITY, SENTENCES)
    assert recipe.weights_by_name == {"detail": 0.75, "brevity": 0.25}


BAD: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([{"name": "detail", "serves": "reward"}], {}, "'detail' is to serve as 'reward' and has no measure: give it a"),
    ([SENTENCES], {}, "every principle is a gauge, so that nothing is rewarded; let one serve as"),
    ([BREVITY | {"weight": 0}, SENTENCES], {}, "give at least one principle that is no gauge a non-zero weight"),
    ([BREVITY, SENTENCES], {"scalarization": {"caps": {"sentences": 1.0}}},
     r"name sentences, not rewarded \(serves: gauge\); name only brevity"),
    ([BREVITY, SENTENCES], {"baseline": {"kind": "single_principle", "principle": "sentences"}},
     "the baseline's principle 'sentences' is not rewarded .*choose one of brevity"),
    ([{"name": "detail"}, BREVITY], {"baseline": {"kind": "single_pm"}},
     r"'single_pm' trains one preference model .*brevity has none \(serves: reward\); let it serve as 'labels'"),
    ([{"name": "detail"}, BREVITY], {"baseline": {"kind": "pooled_pm"}}, "'pooled_pm' trains one"),
    ([{"name": "detail"}, SENTENCES], {"scalarization": {"function": "constrained", "thresholds": {"detail": 0.5}}},
     "needs a principle with a weight that is not a constraint"),
]


@pytest.mark.parametrize(("principles", "sections", "message"), BAD)
def test_what_makes_no_sense_is_refused(principles: Any, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        recipe_of(*principles, **sections)


# The plan -------------------------------------------------------------------------------------------------------------


def names_of(recipe: Recipe) -> list[str]:
    return [stage.name for stage in plan(recipe)]


def test_neither_has_a_label_stage_nor_a_preference_model() -> None:
    recipe = recipe_of({"name": "detail"}, BREVITY, SENTENCES)
    assert names_of(recipe) == ["sample", "label:detail", "preference_model:detail", "weights", "ppo", "evaluate"]
    assert served_by(plan(recipe)) == {"detail": "preference_model:detail"}
    stages = {stage.name: stage for stage in plan(recipe)}
    assert stages["weights"].inputs == {"preference_model:detail": "preference_model:detail", "sample": "sample"}
    assert stages["ppo"].settings["principles"] == ["detail", "brevity"]
    assert list(stages["ppo"].settings["gauges"]) == list(stages["evaluate"].settings["gauges"]) == ["sentences"]
    assert set(stages["evaluate"].settings["principles"]) == {"detail", "brevity", "sentences"}


def test_a_recipe_of_rewards_alone_has_no_models_to_train_or_to_check() -> None:
    recipe = recipe_of(BREVITY, SENTENCES)
    assert names_of(recipe) == ["sample", "weights", "ppo", "evaluate"] and recipe.is_measured
    assert list(bases_of(recipe)) == ["policy.base"] and served_by(plan(recipe)) == {}
    kinds = [stage.kind for stage in run_memory(recipe, Device(8 * 10**9, False, "cpu")).stages]
    assert kinds == ["sample", "ppo", "evaluate"]


def test_shared_trunk_and_single_principle_leave_them_out() -> None:
    shared = recipe_of({"name": "detail"}, BREVITY, {"name": "bias"}, preference_model={
        "architecture": "shared_trunk"})
    [trunk] = [stage for stage in plan(shared) if stage.kind == "preference_model"]
    assert trunk.settings["principles"] == ["detail", "bias"]
    pooled = recipe_of({"name": "detail"}, SENTENCES, baseline={"kind": "pooled_pm"})
    assert names_of(pooled) == ["sample", "label:detail", "draw", "preference_model:constitution", "weights", "ppo",
                                "evaluate"]
    alone = recipe_of(SENTENCES, BREVITY, {"name": "detail"}, baseline={"kind": "single_principle"})
    assert names_of(alone) == ["sample", "weights", "ppo", "evaluate"]


def test_pairs_of_a_dataset_are_measured_from_its_file() -> None:
    recipe = recipe_of(BREVITY, data={"source": "Anthropic/hh-rlhf"}, sample={"pairs": "dataset"})
    stages = {stage.name: stage for stage in plan(recipe)}
    assert stages["weights"].files == ("pairs",) and stages["weights"].inputs == {}


def test_identities_change_with_the_measure_and_a_gauge_leaves_the_weights_alone() -> None:
    def ids(*principles: dict[str, Any]) -> dict[str, str]:
        return identities(plan(recipe_of({"name": "detail"}, *principles)), DIGESTS)

    plain, watched = ids(), ids(SENTENCES)
    assert {name for name in plain if plain[name] != watched[name]} == {"ppo", "evaluate"}
    rewarded, turned = ids(BREVITY), ids(BREVITY | {"measure": WORDS | {"toward": "high"}})
    assert {name for name in rewarded if rewarded[name] != turned[name]} == {"weights", "ppo", "evaluate"}


def test_old_recipes_keep_their_identities() -> None:
    recorded = json.loads((Path(__file__).parent / "recorded_recipes" / "identities_before_measures.json").read_text())
    for name in ("demo", "small_gpu", "large_gpu"):
        assert identities(plan(shipped_recipe(name)), DIGESTS) == recorded[name], name  # type: ignore[arg-type]


# Numbers by hand ------------------------------------------------------------------------------------------------------


class Judged:
    """A preference model that gives 3 to every response."""

    names = ("detail",)
    mean, std = torch.tensor([1.0]), torch.tensor([2.0])

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        return torch.full((len(responses), 1), 3.0)


def test_models_and_measures_make_one_reward_in_the_recipes_order() -> None:
    """Words: 4 and 8 with a mean of 6 and a deviation of 2, lower is better: z = 1 and -1. The model: z = 1."""
    measured = MeasuredScores({"brevity": WORDS}, {"brevity": Scale(6.0, 2.0)})
    scorer = ComposedScores(["brevity", "detail"], [Judged(), measured])
    rewards_of = PrincipleRewards(scorer, {"detail": 0.75, "brevity": 0.25}, Scalarization())
    rewards = rewards_of(PROMPTS[:2], ["one two three four", "a b c d e f g h"], 2)
    assert rewards.raw.tolist() == [[4.0, 3.0], [8.0, 3.0]]
    assert rewards.standardised.tolist() == [[1.0, 1.0], [-1.0, 1.0]]
    assert rewards.weighted.tolist() == [[0.25, 0.75], [-0.25, 0.75]] and rewards.total.tolist() == [1.0, 0.5]


def broken(prompt: Dialogue, response: str) -> float:
    if response == "odd":
        raise MeasureFailed("It was odd.", "Correct it.")
    return 8.0


def test_an_answer_without_a_number_counts_as_the_mean_and_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "make_measure", lambda settings, reference_of: broken)
    reporter = Remembering()
    scores = MeasuredScores({"brevity": WORDS}, {"brevity": Scale(6.0, 2.0)}, reporter)
    assert scores.score_raw(PROMPTS[:3], ["odd", "plain", "odd"]).tolist() == [[6.0], [8.0], [6.0]]
    assert reporter.warnings == ["measure_failed"]
    gauges = Gauges({"sentences": WORDS}, reporter)
    assert gauges.metrics(PROMPTS[:2], ["odd", "plain"]) == {"gauge/sentences": 8.0}
    assert Gauges({"sentences": WORDS}).metrics(PROMPTS[:1], ["odd"]) == {}


# The stages -----------------------------------------------------------------------------------------------------------

PAIRS = [pair(0, "one two", "one two three four", human=1.0), pair(1, "one two three four", "one two three four five "
                                                                      "six", human=1.0)]  # 2, 4, 4 and 6 words


def test_weights_freezes_the_scale_over_the_pairs(tmp_path: Path) -> None:
    settings = {"weights": {"mode": "set"}, "given": {"brevity": 2.0}, "measured_rewards": {"brevity": WORDS}}
    run(weights.run, job("weights", tmp_path, settings, pairs=PAIRS), tmp_path)
    stored = read_json(tmp_path / "weights.json")
    assert stored["weights"] == {"brevity": 1.0}
    assert stored["scales"] == {"brevity": {"mean": 4.0, "std": pytest.approx(2.0**0.5)}}
    assert "brevity measures 4 on average" in events(tmp_path, "log")[0]["message"]


def test_a_measured_reward_takes_part_in_a_fit(tmp_path: Path) -> None:
    """People chose the shorter response in ten of twelve pairs, whatever the model said of them, which is 1 and -1 in
    turn: all the weight goes to brevity."""
    shorter = [pair(n, "one two", "one two three four", human=1.0) for n in range(6)]
    longer = [pair(n, "one two three four", "one two", human=float(n in (6, 7))) for n in range(6, 12)]
    pairs = [*shorter, *longer]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "scores.jsonl").write_text("".join(json.dumps({
        "pair": row["digest"], "z_a": (-1.0) ** n, "z_b": 0.0, "human": row["human"], "held_out": False}) + "\n"
        for n, row in enumerate(pairs)))
    settings = {"weights": {"mode": "fitted"}, "given": {"brevity": 1.0, "detail": 1.0},
                "measured_rewards": {"brevity": WORDS}}
    made = job("weights", tmp_path, settings, inputs={"preference_model:detail": folder}, pairs=pairs)
    run(weights.run, made, tmp_path)
    stored = read_json(tmp_path / "weights.json")
    assert (stored["n"], stored["rows"]) == (12, "all")
    assert stored["weights"] == {"brevity": pytest.approx(1.0, abs=1e-3), "detail": pytest.approx(0.0, abs=1e-3)}
    assert set(stored["intervals"]) == {"brevity", "detail"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Path]:
    """What a ppo stage reads whose reward is a preference model and a number of words."""
    folder = tmp_path_factory.mktemp("inputs")
    write_json(folder / "weights" / "weights.json", {
        "weights": {"factuality": 0.5, "brevity": 0.5}, "scales": {"brevity": {"mean": 3.0, "std": 1.5}}})
    return {"preference_model:factuality": make_preference_model(folder / "factuality", tiny_base, seed=1),
            "weights": folder / "weights"}


PRINCIPLES = [{"name": "factuality"}, BREVITY, SENTENCES]


def test_ppo_is_rewarded_by_the_words_and_charts_the_gauge(tmp_path: Path, tiny_base: Path, inputs: dict[str, Path],
                                                           ) -> None:
    recipe = make_recipe(tiny_base, principles=PRINCIPLES, ppo={"sample_prompts": 5, "batch_size": 5, "minibatches": 1})
    made = make_job(recipe, "ppo", tmp_path, inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    assert check_job(made, tmp_path) == ""
    reporter = Remembering()
    ppo.run(made, tmp_path / "run", reporter)
    for _, _, _, response, total, scores in reporter.samples:
        z = (3.0 - words(response)) / 1.5
        assert scores["brevity"] == pytest.approx(z, abs=1e-5)
        assert total == pytest.approx(0.5 * scores["factuality"] + 0.5 * z, abs=1e-5)
    for values in reporter.metrics.values():
        assert values["principle/brevity/standardised"] == pytest.approx(
            (3.0 - values["principle/brevity/raw"]) / 1.5, abs=1e-5)
        assert 0 <= values["gauge/sentences"] <= 5 and "principle/sentences/raw" not in values


TAGS = ("reward/total", "principle/brevity/raw", "gauge/sentences", "kl/mean", "optimizer/grad_norm")
PINNED = {
    1: (-0.78125, 7.5625, 1.625, 0.0, 4.61827),
    2: (-1.34375, 8.6875, 1.6875, -0.01346, 6.7269),
    3: (-0.5625, 7.125, 1.375, 0.07624, 4.15162),
}


def test_the_trajectory_in_the_demo_world_is_the_pinned_one(tmp_path: Path) -> None:
    """No preference model at all. The reward is (6 - words) / 2: 7.5625 words earn -0.78125."""
    write_json(tmp_path / "weights" / "weights.json", {
        "weights": {"brevity": 1.0}, "scales": {"brevity": {"mean": 6.0, "std": 2.0}}})
    recipe = recipe_of(BREVITY, SENTENCES, device="cpu", ppo={
        "steps": 3, "batch_size": 16, "epochs": 1, "minibatches": 2, "micro_batch": 8, "max_new_tokens": 12,
        "sample_prompts": 0, "learning_rate": 1e-3, "warmup_steps": 0})
    prompts = [{"prompt": [{"role": "user", "content": text}]} for text in language.prompts(16, 0, "train")]
    reporter = Remembering()
    ppo.run(make_job(recipe, "ppo", tmp_path, {"weights": tmp_path / "weights"}, prompts=prompts), tmp_path / "run",
            reporter)
    trajectory = {step: tuple(round(values[tag], 5) for tag in TAGS) for step, values in reporter.metrics.items()}
    for step, numbers in PINNED.items():
        assert trajectory[step] == pytest.approx(numbers, rel=2e-3, abs=2e-3), trajectory
        assert numbers[0] == (6 - numbers[1]) / 2


def test_grpo_takes_the_same_reward_and_gauge(tmp_path: Path, tiny_base: Path, inputs: dict[str, Path]) -> None:
    few = {"algorithm": "grpo", "group_size": 3, "steps": 1, "epochs": 1, "minibatches": 1, "micro_batch": 3}
    recipe = make_recipe(tiny_base, principles=PRINCIPLES, ppo=few)
    reporter = Remembering()
    ppo.run(make_job(recipe, "ppo", tmp_path, inputs, prompts=[{"prompt": p} for p in PROMPTS]), tmp_path / "run",
            reporter)
    [values] = reporter.metrics.values()
    assert values["principle/brevity/raw"] >= 0 and values["gauge/sentences"] >= 0


def test_evaluate_reports_the_means_before_and_after(tmp_path: Path) -> None:
    tuned, plain = ["One. Two.", "One.", "One. Two. Three."], ["One.", "One.", "One."]
    [means] = means_of_measures({"sentences": {"kind": "sentences", "toward": "low"}}, PROMPTS[:3], tuned,
                                         plain).values()
    assert (means["n"], means["toward"], means["base"]["mean"], means["policy"]["mean"]) == (3, "low", 1.0, 2.0)
    mean, low, high = mean_interval([1.0, 0.0, 2.0])
    assert means["difference"] == {"mean": mean, "low": low, "high": high}
    assert (mean, high - mean) == (1.0, pytest.approx(1.959964 / 3**0.5))


def test_the_command_line_runs_one_judged_one_rewarded_and_one_gauge(tmp_path: Path) -> None:
    make_base(tmp_path / "models" / "tiny")
    recipe = make_recipe(
        Path("tiny"), principles=[{"name": "factuality"}, BREVITY, SENTENCES], data={"limit": 60, "held_out": 8},
        sample={"count": 40, "max_new_tokens": 5}, preference_model={"base": "tiny", "epochs": 1, "max_length": 64},
        ppo={"steps": 1}, evaluate={"prompts": 5, "max_new_tokens": 5, "best_of": 2})
    (tmp_path / "recipe.yaml").write_text(as_yaml(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"),
         "--models", str(tmp_path / "models")], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {name: tmp_path / "out" / folder for name, folder in read_json(tmp_path / "out" / "stages.json").items()}
    assert set(folders) == set(names_of(recipe))
    pairs = list(read_jsonl(folders["sample"] / "pairs.jsonl"))
    counts = [words(row[side]) for row in pairs for side in ("a", "b")]
    assert read_json(folders["weights"] / "weights.json")["scales"]["brevity"]["mean"] == pytest.approx(
        sum(counts) / len(counts))
    report = read_json(folders["evaluate"] / "report.json")
    assert set(report["principles"]) == {"factuality", "brevity", "sentences"} == set(
        report["best_of_n"]["principles"])
    assert set(report["measures"]) == {"brevity", "sentences"}
    assert set(report["opinions"]) == {"factuality"}
    answers = list(read_jsonl(folders["evaluate"] / "answers.jsonl"))
    for side in ("policy", "base"):
        assert report["measures"]["sentences"][side]["mean"] == pytest.approx(
            sum(sentences(row[side]) for row in answers) / 5)
    wins = sum(sentences(row["policy"]) > sentences(row["base"]) for row in answers)
    assert report["principles"]["sentences"]["wins"] == wins


def test_the_recipe_of_the_guide_can_be_used() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "measures.md").read_text(encoding="utf-8")
    recipe = parse_recipe(guide.split("```yaml\n")[1].split("```")[0])
    assert [choice.serves for choice in recipe.principles] == ["labels", "reward", "gauge"]
    assert recipe.weights_by_name == {"factuality": 0.75, "brevity": 0.25}
