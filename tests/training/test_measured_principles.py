"""Measured principles: in a recipe, labelled by their measure without a key or a server, and compared by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import job, pair, run
from tests.training.tiny_models import make_base, make_recipe
from training.config import JudgeSettings, Recipe, as_yaml, parse_recipe, read_stored, shipped_recipe
from training.errors import BadSettings, JudgeUnavailable
from training.judges.identity import judge_name, judge_title
from training.judges.judge import PairQuestion, Verdict
from training.judges.measure_judge import MeasureJudge, measured_verdicts, overall_by_weight, preference
from training.measures.words import words
from training.run.artifacts import read_json, read_jsonl
from training.run.checks import check_run
from training.run.pipeline import identities, plan, shared_principles
from training.stages import label

BREVITY = {"name": "brevity", "measure": {"kind": "words", "toward": "low"}}
DIGESTS = {"prompts": "p", "held_out": "h", "pairs": "x", "dialogues": "d"}


def recipe_of(*principles: dict[str, Any], **sections: Any) -> Recipe:
    return Recipe.model_validate({"principles": principles, **sections})


def settings_of(**measure: Any) -> JudgeSettings:
    return JudgeSettings.model_validate({"kind": "measure", "measure": measure})


# In a recipe ----------------------------------------------------------------------------------------------------------


def test_it_is_written_and_read_back() -> None:
    recipe = recipe_of(BREVITY, {"name": "toxicity"})
    text = as_yaml(recipe)
    assert text.count("measure:") == 1 and "toward: low" in text
    assert parse_recipe(text) == recipe == read_stored(recipe.model_dump(mode="json")).recipe
    assert recipe.principles[0].wording == "lower in words"


def test_a_recipe_without_one_is_written_and_identified_as_before() -> None:
    assert "measure" not in as_yaml(shipped_recipe("demo"))
    recorded = json.loads((Path(__file__).parent / "recorded_recipes" / "identities_before_measures.json").read_text())
    for name in ("demo", "small_gpu", "large_gpu"):
        assert identities(plan(shipped_recipe(name)), DIGESTS) == recorded[name], name  # type: ignore[arg-type]


def test_its_label_stage_depends_on_its_measure_and_not_on_the_judge() -> None:
    def ids(recipe: Recipe) -> dict[str, str]:
        return identities(plan(recipe), DIGESTS)

    plain = ids(recipe_of(BREVITY, {"name": "toxicity"}))
    other = ids(recipe_of(BREVITY, {"name": "toxicity"}, judge={"kind": "openai", "model": "m"}))
    turned = ids(recipe_of({"name": "brevity", "measure": {"kind": "words"}}, {"name": "toxicity"}))
    assert plain["label:brevity"] == other["label:brevity"] != turned["label:brevity"]
    assert plain["label:toxicity"] != other["label:toxicity"] and plain["label:toxicity"] == turned["label:toxicity"]


def test_a_local_judge_is_not_asked_about_it() -> None:
    local = {"kind": "local", "model": "m", "layout": "shared_prefix"}
    recipe = recipe_of({"name": "toxicity"}, BREVITY, {"name": "empathy"}, judge=local)
    assert list(shared_principles(recipe)) == ["toxicity", "empathy"]
    after = {stage.name: stage.after for stage in plan(recipe) if stage.kind == "label"}
    assert after == {"label:toxicity": (), "label:brevity": (), "label:empathy": ("label:toxicity",)}


def test_only_where_every_principle_is_measured_no_judge_is_needed() -> None:
    data = {"source": "Anthropic/hh-rlhf"}
    assert recipe_of(BREVITY, data=data).is_measured
    with pytest.raises(ValueError, match="the rule judge knows the demo world only"):
        recipe_of(BREVITY, {"name": "toxicity"}, data=data)
    with pytest.raises(ValueError, match="'judge.kind' is 'measure', which is for principles"):
        recipe_of(BREVITY, judge={"kind": "measure", "measure": {"kind": "words"}})


def test_a_measure_that_is_not_installed_is_refused_before_the_run() -> None:
    with pytest.raises(BadSettings, match="'absent' is not installed"):
        check_run(recipe_of({"name": "house", "measure": {"kind": "added", "name": "absent"}}))


def test_a_newer_measures_setting_is_left_out_by_name() -> None:
    value = recipe_of(BREVITY, {"name": "toxicity"}).model_dump(mode="json")
    value["principles"][0]["measure"]["of_tomorrow"] = 1
    assert read_stored(value).unreadable == ["principles.0.measure.words.of_tomorrow"]


# As a judge -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second", "toward", "softness", "expected"), [
    (3, 5, "low", 0, 1), (3, 5, "high", 0, 0), (4, 4, "low", 0, 0.5), (5, 3, "high", 2, 0.7310586),
    (0, 0, "low", 2, 0.5),    (1e308, -1e308, "high", 1e-300, 1), (3, 5, "high", 2, 0.2689414)])
def test_the_preference_by_hand(first: float, second: float, toward: str, softness: float, expected: float) -> None:
    assert preference(first, second, toward, softness) == pytest.approx(expected)


def test_a_label_stage_needs_no_judge_and_both_orders_agree(tmp_path: Path) -> None:
    stage = {stage.name: stage for stage in plan(recipe_of(BREVITY))}["label:brevity"]
    pairs = [pair(0, "one two", "one two three"), pair(1, "one two three", "one"), pair(2, "two words", "other words")]
    run(label.run, job("label", tmp_path, stage.settings, pairs=pairs), tmp_path)
    rows = list(read_jsonl(tmp_path / "labels.jsonl"))
    said = [(row["probability"], row["order_gap"], row["tokens"]) for row in rows]
    assert said == [(1, 0, 0), (0, 0, 0), (0.5, 0, 0)]
    assert {row["judge"] for row in rows} == {judge_name(JudgeSettings.model_validate(stage.settings["judge"]))}


def test_its_name_tells_measures_apart_and_is_shown_in_words() -> None:
    names = {judge_name(settings_of(kind="distinct_ngrams", n=n)) for n in (1, 2)}
    assert len(names) == 2 and {judge_title(name) for name in names} == {"measure of distinct ngrams"}


def test_a_response_without_a_number_has_no_label_and_says_why(tmp_path: Path) -> None:
    endless = settings_of(kind="pattern", pattern=r"(a|aa)+$").model_dump(mode="json")
    settings = {"judge": endless, "principle": "ends", "statement": "ends", "seed": 0}
    pairs = [pair(0, "a" * 3_000 + "b", "a")]
    with pytest.raises(JudgeUnavailable, match="could not label 1 of 1 pairs; most often: measure"):
        run(label.run, job("label", tmp_path, settings, pairs=pairs), tmp_path)


async def test_compare_keeps_the_order_of_the_pairs() -> None:
    verdicts = await MeasureJudge(settings_of(kind="words")).compare([PairQuestion([], "a", "a b"),
                                                                      PairQuestion([], "a b", "a")])
    assert [verdict.probability for verdict in verdicts] == [0, 1]


def test_the_overall_verdict_is_the_mean_by_weight() -> None:
    judges = {"long": {"kind": "measure", "measure": {"kind": "words"}},
              "many": {"kind": "measure", "measure": {"kind": "sentences"}}}
    verdicts = measured_verdicts(judges, [[]], ["one two"], ["one"])
    assert [verdicts[name][0].probability for name in judges] == [1, 0.5]
    [overall] = overall_by_weight(verdicts, {"long": -0.75, "many": 0.25})
    assert overall.probability == pytest.approx(0.75 * 0 + 0.25 * 0.5)
    failed = Verdict(None, None, None, None, "measure: no", 0, "")
    assert overall_by_weight({"long": [failed]}, {"long": 1.0})[0].error == "measure: no"


def test_the_command_line_runs_it_from_prompts_to_a_report_without_a_judge(tmp_path: Path) -> None:
    """With tiny models: labels, a preference model for each, PPO, and what the measures say of it."""
    make_base(tmp_path / "models" / "tiny")
    recipe = make_recipe(Path("tiny"), principles=[
        BREVITY, {"name": "praise", "measure": {"kind": "sentiment", "softness": 0.5}}],
        data={"limit": 60, "held_out": 8}, sample={"count": 40, "max_new_tokens": 5},
        preference_model={"base": "tiny", "epochs": 1, "max_length": 64}, ppo={"steps": 1})
    (tmp_path / "recipe.yaml").write_text(as_yaml(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"),
         "--models", str(tmp_path / "models")], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {name: tmp_path / "out" / folder for name, folder in read_json(tmp_path / "out" / "stages.json").items()}
    pairs = {row["digest"]: row for row in read_jsonl(folders["sample"] / "pairs.jsonl")}
    labels = {row["pair"]: row["probability"] for row in read_jsonl(folders["label:brevity"] / "labels.jsonl")}
    assert labels.keys() == pairs.keys()
    for digest, row in pairs.items():
        assert labels[digest] == preference(words(row["a"]), words(row["b"]), "low", 0)
    assert (folders["preference_model:praise"] / "card.json").is_file()
    report = read_json(folders["evaluate"] / "report.json")
    assert set(report["principles"]) == {"brevity", "praise"} and report["overall"]["n"] == 5
