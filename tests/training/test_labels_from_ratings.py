"""Preference models learn from the ratings of a dataset: alone, without a judge, or in place of the judge's labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny_models import make_base
from training.config import Recipe, as_yaml, check_recipe, parse_recipe
from training.data.data_files import prepare
from training.errors import BadData, BadSettings
from training.models.language_model import load_tokenizer
from training.run.artifacts import Job, write_jsonl
from training.run.pipeline import SHARED, identities, plan, shared_principles
from training.stages.preference_model import read_examples

RATINGS = {"factuality": "correctness", "conciseness": "-verbosity"}
DIGESTS = {"prompts": "p", "held_out": "h", "pairs": "a", "ratings": "r"}


def recipe_of(labels_from: str, ratings: dict[str, str] | None = None, source: str = "org/data",
              names: tuple[str, ...] = ("factuality", "conciseness"), **more: Any) -> Recipe:
    return check_recipe({
        "principles": [{"name": name} for name in names], "sample": {"pairs": "dataset"},
        "data": {"source": source, "held_out": 2, "ratings": RATINGS if ratings is None else ratings},
        "judge": {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}} | more | {
            "preference_model": {"labels_from": labels_from} | more.get("preference_model", {})})


def kinds(recipe: Recipe) -> list[str]:
    return [stage.name for stage in plan(recipe) if stage.kind in ("label", "preference_model")]


# What is asked of whom ------------------------------------------------------------------------------------------------


def test_with_people_no_judge_is_asked_about_a_principle_that_is_rated() -> None:
    recipe = recipe_of("people")
    assert kinds(recipe) == ["preference_model:factuality", "preference_model:conciseness"]
    stage = next(stage for stage in plan(recipe) if stage.name == "preference_model:conciseness")
    assert (stage.inputs, stage.files, stage.settings["rated"]) == (
        {}, ("pairs", "ratings"), {"conciseness": "-verbosity"})


def test_a_measured_principle_keeps_its_measure_and_shared_questions_leave_rated_ones_out() -> None:
    measured = recipe_of("people", principles=[{"name": "factuality"}, {"name": "brief", "measure": {"kind": "words"}}])
    assert kinds(measured) == ["label:brief", "preference_model:factuality", "preference_model:brief"]
    local = {"kind": "local", "model": "demo-world", "layout": "shared_prefix"}
    both = ("factuality", "conciseness")
    assert list(shared_principles(recipe_of("both", judge=local))) == list(both)
    assert not shared_principles(recipe_of("people", judge=local))


@pytest.mark.parametrize("architecture", ["separate", "shared_trunk"])
def test_with_both_every_principle_is_labelled_and_only_rated_ones_read_ratings(architecture: str) -> None:
    recipe = recipe_of("both", {"factuality": "correctness"}, preference_model={"architecture": architecture})
    assert kinds(recipe)[:2] == ["label:factuality", "label:conciseness"]
    files = {stage.name: stage.files for stage in plan(recipe) if stage.kind == "preference_model"}
    if architecture == "separate":
        assert files == {"preference_model:factuality": ("pairs", "ratings"),
                         "preference_model:conciseness": ("pairs",)}
    else:
        assert files == {SHARED: ("pairs", "ratings")}


def test_identities_are_those_of_before_without_the_setting_and_follow_the_ratings_with_it() -> None:
    plain = recipe_of("ai", {})
    mapped = recipe_of("ai")  # what is said of the ratings changes nothing that does not use them
    assert identities(plan(plain), DIGESTS) == identities(plan(mapped), DIGESTS)
    assert "labels_from" not in as_yaml(mapped) and "ratings" not in as_yaml(plain)
    assert parse_recipe(as_yaml(recipe_of("both"))) == recipe_of("both")
    both = identities(plan(recipe_of("both")), DIGESTS)
    others = identities(plan(recipe_of("both")), DIGESTS | {"ratings": "others"})
    of_the_judge = identities(plan(plain), DIGESTS)["label:factuality"]
    assert both["label:factuality"] == others["label:factuality"] == of_the_judge
    assert both["preference_model:factuality"] != others["preference_model:factuality"]


@pytest.mark.parametrize(("labels_from", "more", "message"), [
    ("people", {"ratings": {"factuality": "correctness"}}, "conciseness has no aspect in 'data.ratings'"),
    ("both", {"ratings": {}}, "no principle has an aspect in 'data.ratings'"),
    ("people", {"sample": {"pairs": "sampled"}}, "set 'sample.pairs' to dataset"),
    ("both", {"baseline": {"kind": "single_pm"}}, "which no baseline has")])
def test_a_recipe_whose_ratings_cannot_label_is_refused(labels_from: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        recipe_of(labels_from, **more)


def test_data_that_is_not_rated_on_the_aspect_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"prompt": f"Mill {n}?", "chosen": f"Odo {n}.", "rejected": "The wind.", "ratings": {"care": [2, 1]}}
            for n in range(10)]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(BadData, match="the data is not rated on it: it is rated on care"):
        prepare(recipe_of("both", source=str(file)), tmp_path)
    assert "ratings" in prepare(recipe_of("both", {"factuality": "-care"}, source=str(file)), tmp_path)


# What a preference model learns ---------------------------------------------------------------------------------------


def job_of(tmp_path: Path, settings: dict[str, Any], judged: bool,
           corrected: list[dict[str, Any]] | None = None) -> Job:
    """Five pairs: the judge says 0.9, 0.9, 0.9, nothing, 0.9; ratings of correctness 1:4, 4:1, 2:2, 4:1, none."""
    ratings = [[1, 4], [4, 1], [2, 2], [4, 1]]
    files = {name: tmp_path / f"{name}.jsonl" for name in ("pairs", "ratings", "labels")}
    write_jsonl(files["pairs"], ({"digest": f"d{n}", "prompt": [{"role": "user", "content": f"{n}?"}], "a": "one",
                                  "b": "two", "human": None} for n in range(5)))
    write_jsonl(files["ratings"], ({"pair": f"d{n}", "ratings": {"correctness": pair}}
                                   for n, pair in enumerate(ratings)))
    inputs = {"label": tmp_path / "label"} if judged else {}
    if judged:
        inputs["label"].mkdir()
        write_jsonl(inputs["label"] / "labels.jsonl", (
            {"pair": f"d{n}", "probability": None if n == 3 else 0.9} for n in range(5)))
    if corrected is None:
        del files["labels"]
    else:
        write_jsonl(files["labels"], corrected)
    return Job(name="preference_model:factuality", kind="preference_model", identity="test", inputs=inputs, files=files,
               settings={"principle": "factuality"} | settings)


def learnt(tmp_path: Path, **more: Any) -> dict[str, Any]:
    settings = {"rated": {"factuality": more.pop("aspect", "correctness")}}
    tokenizer = load_tokenizer(str(make_base(tmp_path / "base")))
    return {example.digest: example.labels for example in read_examples(
        job_of(tmp_path, settings, **more), tokenizer, 64)}


def test_ratings_alone_label_the_pairs_that_are_rated(tmp_path: Path) -> None:
    assert learnt(tmp_path, judged=False) == {"d0": (0.0,), "d1": (1.0,), "d2": (0.5,), "d3": (1.0,)}


def test_less_is_better_with_a_minus(tmp_path: Path) -> None:
    assert learnt(tmp_path, judged=False, aspect="-correctness") == {
        "d0": (1.0,), "d1": (0.0,), "d2": (0.5,), "d3": (0.0,)}


def test_beside_a_judge_ratings_win_also_where_it_failed(tmp_path: Path) -> None:
    assert learnt(tmp_path, judged=True) == {
        "d0": (0.0,), "d1": (1.0,), "d2": (0.5,), "d3": (1.0,), "d4": (0.9,)}


def test_an_annotator_wins_over_both_and_what_they_rejected_has_no_label(tmp_path: Path) -> None:
    corrected = [{"pair": "d0", "probability": 0.7, "corrected": True},  # d1 is rejected
                 {"pair": "d2", "probability": 0.9}, {"pair": "d3", "probability": None},
                 {"pair": "d4", "probability": 0.2, "corrected": True}]
    assert learnt(tmp_path, judged=True, corrected=corrected) == {
        "d0": (0.7,), "d2": (0.5,), "d3": (1.0,), "d4": (0.2,)}


def test_a_principle_that_no_pair_is_rated_on_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="labels factuality by 'care', and no pair to train on is rated on it"):
        learnt(tmp_path, judged=False, aspect="care")
