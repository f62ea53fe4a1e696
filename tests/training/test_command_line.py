"""`python -m training`: a recipe from end to end where no model is needed, done once and gone on with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.scripted_server import letters, serving
from tests.training.test_chat_templates import tokenizer_with
from tests.training.tiny_families import make_family
from training.config import as_yaml, check_recipe, parse_recipe, shipped_recipe
from training.run.artifacts import read_json, read_jsonl
from training.run.pipeline import plan


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "training", *arguments], capture_output=True, text=True, timeout=60)


def recipe(tmp_path: Path, base_url: str, pairs: int = 20, **changes: Any) -> Path:
    source = tmp_path / "pairs.csv"
    source.write_text("prompt,chosen,rejected\n" + "".join(f"Question {n}?,Good {n}.,Bad {n}.\n" for n in range(pairs)))
    made = check_recipe({
        "data": {"source": str(source)}, "principles": [{"name": "toxicity"}, {"name": "detail"}],
        "sample": {"pairs": "dataset"}, "judge": {"kind": "openai", "model": "m", "base_url": base_url}, **changes})
    path = tmp_path / "recipe.yaml"
    path.write_text(as_yaml(made))
    return path


@pytest.mark.parametrize("name", ["demo", "real_english", "small_gpu", "large_gpu"])
def test_every_shipped_recipe_parses_and_survives_yaml(name: Any) -> None:
    shipped = shipped_recipe(name)
    assert parse_recipe(as_yaml(shipped)) == shipped
    assert plan(shipped)[-1].kind == "evaluate"


def test_presets_are_listed() -> None:
    done = command("presets")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["demo", "real_english", "small_gpu", "large_gpu"]


def test_a_plan_says_what_each_stage_needs_of_memory() -> None:
    planned = command("plan", "small_gpu", "--memory", "2")
    assert planned.returncode == 0, planned.stderr
    lines = {line.split()[0]: line for line in planned.stdout.splitlines()}
    assert lines["Small"] == "Small GPU: 28 stages on a GPU (2.0 GB of memory)"
    assert lines["ppo"].endswith("does not fit") and lines["label"].split()[1:] == ["12", "-", "-", "-"]
    refused = command("plan", "small_gpu", "--memory", "-3")
    assert (refused.returncode, refused.stderr) == (1, "error: '--memory' is -3. Give the GPU's memory in GB, such as "
                                                       "24.\n")


def test_a_recipe_runs_stage_by_stage_and_buys_no_label_twice(tmp_path: Path) -> None:
    with serving(lambda *_: letters(0.8)) as server:
        path = recipe(tmp_path, server.base_url)
        first = command("run", str(path), "--out", str(tmp_path / "out"), "--stage-only", "label:toxicity")
        assert first.returncode == 0, first.stderr
        assert "label:toxicity: 16/16 labels" in first.stdout
        paid = len(server.requests)
        again = command("run", str(path), "--out", str(tmp_path / "out"), "--stage-only", "label:toxicity")
        assert "label:toxicity: already complete" in again.stdout and len(server.requests) == paid == 32
    folder = tmp_path / "out" / read_json(tmp_path / "out" / "stages.json")["label:toxicity"]
    assert len(list(read_jsonl(folder / "labels.jsonl"))) == 16


def test_a_stage_whose_inputs_are_missing_is_refused(tmp_path: Path) -> None:
    path = recipe(tmp_path, "http://127.0.0.1:9/v1")
    done = command("run", str(path), "--out", str(tmp_path / "out"), "--stage-only", "weights")
    assert done.returncode == 1 and "reads preference_model:toxicity" in done.stderr
    done = command("run", str(path), "--out", str(tmp_path / "out"), "--stage-only", "dance")
    assert done.returncode == 1 and "no stage 'dance'" in done.stderr


@pytest.mark.parametrize(("family", "words"), [
    ("rwkv", "'policy.base' names 'mine', which is a model of the family rwkv: its decoding here would not be exact"),
    ("gpt2", "'ppo.max_new_tokens' is 128, and 'mine' has 48 positions"),
])
def test_a_base_that_cannot_serve_is_refused_before_a_label_is_bought(
    family: str, words: str, tmp_path: Path
) -> None:
    make_family(family, tmp_path / "models" / "mine")
    with serving(lambda *_: letters(0.8)) as server:
        path = recipe(tmp_path, server.base_url, policy={"base": "mine"})
        done = command("run", str(path), "--out", str(tmp_path / "out"), "--models", str(tmp_path / "models"))
        assert server.requests == []
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and words in done.stderr


@pytest.mark.long
def test_a_row_that_the_last_stages_base_refuses_is_found_before_a_label_is_bought(tmp_path: Path) -> None:
    make_family("gemma2", tmp_path / "models" / "strict", tokenizer_with("{{ raise_exception('No such turns') }}"))
    with serving(lambda *_: letters(0.8)) as server:
        path = recipe(tmp_path, server.base_url, policy={"base": "strict"}, ppo={"max_new_tokens": 16},
                      evaluate={"max_new_tokens": 16})
        done = command("run", str(path), "--out", str(tmp_path / "out"), "--models", str(tmp_path / "models"))
        assert server.requests == []
    assert "label:toxicity failed (bad data): Row 1 of the " in done.stderr
    assert "('Question " in done.stderr and "cannot be read by 'strict' ('policy.base')" in done.stderr
    assert "No such turns" in done.stderr and "bug" not in done.stderr


def test_what_is_wrong_with_a_recipe_is_said_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("principles: [{name: toxicity}]\nppo: {clip: -1}\n")
    done = command("run", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 1 and "ppo.clip" in done.stderr and "Traceback" not in done.stderr
    done = command("run", "nowhere.yaml", "--out", str(tmp_path / "out"))
    assert "no recipe file 'nowhere.yaml'" in done.stderr


def test_a_judge_that_contradicts_itself_is_explained_and_gone_on_with_by_one_setting(tmp_path: Path) -> None:
    with serving(lambda *_: letters(0.97)) as server:  # always A
        path = recipe(tmp_path, server.base_url, pairs=100)  # 20 of them held out
        asked = ("run", str(path), "--out", str(tmp_path / "out"), "--stage-only", "label:toxicity")
        done = command(*asked)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "failed (order flips): The judge m at 127.0.0.1" in done.stderr
        assert "'judge.most_flips: 1'" in done.stderr
        bought = len(server.requests)
        assert 100 <= bought < 160  # 50 pairs in both orders, and what was in flight
        assert command(*asked, "--set", "judge.most_flips=1").returncode == 0
        assert len(server.requests) == 160  # the rest alone: nothing is bought again


@pytest.mark.parametrize(("change", "words"), [
    ("judge.most_flips", "names no setting"), ("judge.kind.x=1", "names no setting"), ("=1", "names no setting"),
    ("judge.most_flips=2", "judge.most_flips"), ("judge.no_such=1", "judge.no_such")])
def test_a_setting_that_is_none_is_refused_with_its_text(change: str, words: str, tmp_path: Path) -> None:
    done = command("run", "demo", "--out", str(tmp_path / "out"), "--set", change)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
