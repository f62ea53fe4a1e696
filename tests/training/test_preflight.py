"""The first stages of a run look at all its bases and prompts: nothing is bought that a later stage refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.test_chat_templates import ALTERNATING, NO_SYSTEM, SYSTEM, TWO_USERS, tokenizer_with
from tests.training.tiny_families import make_family
from tests.training.tiny_models import PROMPTS, Remembering, make_base, make_recipe, make_tokenizer
from training.config import Recipe
from training.errors import BadData, BadSettings, ModelUnavailable
from training.models import preflight
from training.run import jobs
from training.run.artifacts import read_json, write_jsonl
from training.run.checks import check_run
from training.run.pipeline import plan
from training.stages import runner

FRIENDLY = [{"prompt": prompt} for prompt in PROMPTS]


def task_of(recipe: Recipe, folder: Path, **rows: list[dict[str, Any]]) -> dict[str, Any]:
    files = {}
    for role, values in rows.items():
        files[role] = folder / f"{role}.jsonl"
        write_jsonl(files[role], values)
    task: dict[str, Any] = jobs.runtime_of(recipe, files=files)["preflight"]
    return task


def recipe_on(policy: Path, trunk: Path | None = None, **sections: Any) -> Recipe:
    return make_recipe(policy, preference_model={"base": str(trunk or policy), "max_length": 40}, **sections)


def test_a_row_that_a_template_refuses_is_named_wherever_it_stands(tmp_path: Path) -> None:
    plain, odd = make_base(tmp_path / "plain"), make_family("gemma2", tmp_path / "odd", tokenizer_with(ALTERNATING))
    for role, policy, trunk, field in (("held_out", odd, plain, "policy.base"),
                                       ("prompts", plain, odd, "preference_model.base")):
        rows = {"pairs": FRIENDLY, role: [*FRIENDLY, {"prompt": TWO_USERS}]}
        task = task_of(recipe_on(policy, trunk), tmp_path, **rows)
        where = rf"Row 6 of the {role.replace('_', '-')} .*'odd' \('{field}'\)"
        with pytest.raises(BadData, match=rf"{where}.*\(user, user\).*Roles must alternate"):
            preflight.check(task, Remembering())


def test_a_system_message_that_can_be_moved_is_told_and_stops_nothing(tmp_path: Path) -> None:
    base = make_family("gemma2", tmp_path / "gemma", tokenizer_with(NO_SYSTEM))
    reporter = Remembering()
    preflight.check(task_of(recipe_on(base), tmp_path, prompts=[*FRIENDLY, {"prompt": SYSTEM}]), reporter)
    assert set(reporter.warnings) == {"system_message_moved"}


def test_a_row_with_a_token_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    token = "<image_soft_token>"
    tokenizer.add_special_tokens({"additional_special_tokens": [token]})
    base = make_family("gemma3", tmp_path / "soft", tokenizer)
    recipe = recipe_on(base, sample={"pairs": "dataset"}, data={"source": "x.jsonl"},
                       judge={"kind": "openai", "model": "m"})
    check_run(recipe)  # a sound model: no guard refuses it
    rows = [{"prompt": PROMPTS[0], "a": "Yes", "b": "No"},
            {"prompt": PROMPTS[1], "a": f"A {token}", "b": "No"}]
    with pytest.raises(BadData, match="Row 2 of the pairs .*'soft'.*holds '<image_soft_token>'"):
        preflight.check(task_of(recipe, tmp_path, pairs=rows), Remembering())
    preflight.check(task_of(recipe, tmp_path, pairs=rows[:1], dialogues=[{"prompt": PROMPTS[0], "response": token}]),
                    Remembering())  # what no stage of the run reads is not looked at


@pytest.mark.parametrize(("family", "longest"), [("gpt2", 48), ("mpt", 48), ("gemma3_with_pictures", 128),
                                                 ("opt", 128)])
def test_more_is_never_read_than_a_model_has_positions(family: str, longest: int, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / family)
    fits = recipe_on(base)
    check_run(fits)
    preflight.check(task_of(fits, tmp_path, prompts=FRIENDLY), Remembering())
    reads_too_much = make_recipe(base, preference_model={"base": str(base), "max_length": longest + 1})
    writes_too_much = recipe_on(base, ppo={"max_new_tokens": longest})
    for recipe, field in ((reads_too_much, "preference_model.max_length"), (writes_too_much, "ppo.max_new_tokens")):
        with pytest.raises(BadSettings, match=f"'{field}' is .*{longest} positions"):
            check_run(recipe)
        with pytest.raises(BadSettings, match=f"'{field}' is .*{longest} positions"):  # as of a model on the hub
            preflight.check(task_of(recipe, tmp_path, prompts=FRIENDLY), Remembering())


def test_a_base_of_a_later_stage_is_refused_by_the_first_one_before_any_question(tmp_path: Path) -> None:
    """Labels of the dataset's own pairs are the first thing that such a run would pay for."""
    plain, odd = make_base(tmp_path / "plain"), make_family("roberta", tmp_path / "odd")
    recipe = recipe_on(odd, plain, sample={"pairs": "dataset"}, data={"source": "pairs.jsonl"},
                       judge={"kind": "openai", "model": "never-asked", "base_url": "http://127.0.0.1:9/v1"})
    rows = [{"prompt": prompt, "digest": str(index), "a": "Yes", "b": "No", "human": None}
            for index, prompt in enumerate(PROMPTS)]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    stages = {stage.kind: stage for stage in plan(recipe)}
    files = {"pairs": tmp_path / "pairs.jsonl"}
    runtime = jobs.runtime_of(recipe, files=files)
    folder = tmp_path / "label"
    jobs.prepare_stage(stages["label"], "f" * 64, folder, {}, files, runtime)
    assert runner.run_stage(folder) == jobs.FAILED
    failure = read_json(folder / "failure.json")
    assert failure["kind"] == ModelUnavailable.kind and "'policy.base' names 'odd'" in failure["cause"]
    later = jobs.prepare_stage(stages["ppo"], "f" * 64, tmp_path / "ppo",
                                 dict.fromkeys(stages["ppo"].inputs, tmp_path), files, runtime)
    assert "preflight" not in later.runtime


def test_a_small_base_is_measured_before_the_first_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.run import model_shape

    monkeypatch.setattr(model_shape, "INEXACT", {})
    base = make_family("recurrent_gemma", tmp_path / "odd")
    task = task_of(recipe_on(base), tmp_path, pairs=FRIENDLY)
    with pytest.raises(ModelUnavailable, match="'policy.base' names 'odd'.*not be exact"):
        preflight.check(task, Remembering(), measure=True)
