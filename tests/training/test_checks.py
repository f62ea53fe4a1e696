"""Bad input is refused before any work, with the field, its value and the way out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny_models import PROMPTS, make_job, make_recipe
from training.config import parse_recipe, shipped_recipe
from training.errors import BadData, BadSettings, DiskFull, ModelUnavailable
from training.run import checks, jobs, model_shape
from training.run.artifacts import newest_checkpoint, read_json, write_json, write_jsonl
from training.run.reporting import EventFile
from training.stages import ppo, runner


@pytest.fixture
def changed(tiny_base: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the tiny base with some of its config changed."""

    def make(**config: Any) -> Path:
        folder = shutil.copytree(tiny_base, tmp_path / "model")
        write_json(folder / "config.json", read_json(folder / "config.json") | config)
        return folder

    return make


@pytest.mark.parametrize("preset", ["demo", "real_english", "small_gpu", "large_gpu"])
def test_the_presets_pass(preset: Any, tmp_path: Path) -> None:
    checks.check_run(shipped_recipe(preset), tmp_path)


def test_a_folder_that_is_not_there_is_named_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"'policy.base' is '.*nowhere': there is no such folder"):
        checks.check_run(make_recipe(tmp_path / "nowhere"))


def test_a_model_of_another_architecture_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed(architectures=["BertForMaskedLM"])
    refusal = "'policy.base' names 'model', which is a BertForMaskedLM.*ends in ForCausalLM"
    with pytest.raises(ModelUnavailable, match=refusal):
        checks.check_run(make_recipe(folder))


@pytest.mark.parametrize("name", ["overall", "best_of_n"])
def test_a_principle_by_the_name_of_a_number_of_the_report_is_refused(tiny_base: Path, name: str) -> None:
    recipe = make_recipe(tiny_base, principles=[{"name": "toxicity"}, {"name": name, "statement": "kinder"}],
                         preference_model={"base": str(tiny_base), "max_length": 64})
    with pytest.raises(BadSettings, match=f"'principles' names '{name}', by which the report means"):
        checks.check_run(recipe)


def test_models_in_parts_that_write_are_those_that_transformers_loads_as_decoders() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS

    for family in model_shape.WRITE_IN_PARTS:
        assert family in DECODERS
    for family in ("llava", "mistral3", "qwen2_5_vl"):
        assert family not in DECODERS
        config = {"model_type": family, "architectures": ["ForConditionalGeneration"], "text_config": {}}
        assert "cannot write a response" in model_shape.why_no_policy(config)
        assert model_shape.why_no_policy(config, writes=False) == ""


def test_a_tokenizer_with_more_tokens_than_its_model_is_refused(changed: Callable[..., Path], tiny_base: Path) -> None:
    tokens = checks.vocabulary(tiny_base)
    assert tokens == read_json(tiny_base / "config.json")["vocab_size"]
    folder = changed(vocab_size=10)
    with pytest.raises(ModelUnavailable, match=f"its tokenizer has {tokens} tokens, its model 10"):
        checks.check_run(make_recipe(tiny_base, preference_model={"base": str(folder), "max_length": 64}))


@pytest.mark.parametrize(("section", "key"), [("ppo", "max_new_tokens"), ("sample", "max_new_tokens"),
                                              ("evaluate", "max_new_tokens")])
def test_responses_that_leave_no_room_for_a_prompt_are_refused(tiny_base: Path, section: str, key: str) -> None:
    with pytest.raises(BadSettings, match=rf"'{section}.{key}' is 128, .* 128 positions.*Lower '{section}.{key}' to 6"):
        checks.check_run(make_recipe(tiny_base, **{section: {key: 128}}))


def test_a_preference_model_that_is_to_read_more_than_it_can_is_refused(tiny_base: Path) -> None:
    with pytest.raises(BadSettings, match="'preference_model.max_length' is 129.*Lower 'preference_model.max"):
        checks.check_run(make_recipe(tiny_base, preference_model={"base": str(tiny_base), "max_length": 129}))


def prompts_of(folder: Path, *words: int) -> Path:
    path = folder / "prompts.jsonl"
    write_jsonl(path, ({"prompt": [{"role": "user", "content": " ".join(["Hello"] * count)}]} for count in words))
    return path


def test_prompts_longer_than_the_model_are_counted_and_the_longest_is_named(tiny_base: Path, tmp_path: Path) -> None:
    # The model has 128 positions; speaker, words and speaker are n + 2 tokens.
    assert checks.check_prompts(prompts_of(tmp_path, 3, 94), tiny_base, max_new_tokens=32) == ""
    with pytest.raises(BadData, match=r"2 of 3 prompts do .* row 3, has 97 tokens, and of 128 .* takes 32.*to 31"):
        checks.check_prompts(prompts_of(tmp_path, 3, 95, 95), tiny_base, max_new_tokens=32)
    with pytest.raises(BadData, match=r"2 of 2 prompts do .* row 1, has 302 tokens.*Leave such prompts out"):
        checks.check_prompts(prompts_of(tmp_path, 300, 200), tiny_base, max_new_tokens=32)


def test_a_long_prompt_among_others_is_told_and_cut_and_stops_no_run(tiny_base: Path, tmp_path: Path) -> None:
    warning = checks.check_prompts(prompts_of(tmp_path, 3, 95), tiny_base, max_new_tokens=32)
    assert warning.startswith("1 of 2 prompts does not fit the model: the longest, row 2, has 97 tokens")
    assert "loses its oldest tokens. Lower 'ppo.max_new_tokens' to 31" in warning


def test_a_model_of_the_hub_is_left_to_its_loading(tmp_path: Path, tiny_base: Path) -> None:
    checks.check_prompts(prompts_of(tmp_path, 1000), None, max_new_tokens=32)
    recipe = make_recipe(tiny_base, policy={"base": "gpt2"}, ppo={"max_new_tokens": 4000})
    checks.check_run(recipe)


def ppo_job(tmp_path: Path, base: Path, inputs: dict[str, Path]) -> Any:
    return make_job(make_recipe(base), "ppo", tmp_path, inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])


def test_a_principle_without_a_preference_model_is_named(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]
) -> None:
    checks.check_job(ppo_job(tmp_path, tiny_base, ppo_inputs), tmp_path)
    without = {role: folder for role, folder in ppo_inputs.items() if role != "preference_model:toxicity"}
    with pytest.raises(BadSettings, match="'toxicity' has no preference model.*Run the stage 'preference_model"):
        checks.check_job(ppo_job(tmp_path, tiny_base, without), tmp_path)


@pytest.mark.parametrize("card", [{"mean": math.nan, "std": 1.0}, {"mean": 0.0, "std": 0.0}])
def test_a_preference_model_whose_scores_say_nothing_is_named(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], card: dict[str, float]
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text(json.dumps(card))
    inputs = ppo_inputs | {"preference_model:toxicity": tmp_path / "broken"}
    with pytest.raises(BadSettings, match="model of 'toxicity' has mean .* spread"):
        checks.check_job(ppo_job(tmp_path, tiny_base, inputs), tmp_path)


def test_a_disk_without_room_is_told_with_what_is_needed(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage._replace(free=100_000_000))
    with pytest.raises(DiskFull, match=r"0\.1 GB free and about 0\.2 GB are needed"):
        checks.check_run(make_recipe(tiny_base), tmp_path / "not" / "there" / "yet")


def test_what_a_run_will_write_has_to_fit_and_some_room_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000_000))
    checks.check_disk_space(tmp_path, 0.8e9)
    with pytest.raises(DiskFull, match=r"1\.0 GB free and about 1\.1 GB are needed"):
        checks.check_disk_space(tmp_path, 0.9e9)


def test_what_a_run_writes_grows_with_its_models(tiny_base: Path) -> None:
    base = {"base": str(tiny_base), "max_length": 64, "lora": {"r": 4}}
    size = (tiny_base / "model.safetensors").stat().st_size
    separate = checks.needed_bytes(make_recipe(tiny_base, preference_model=base))
    shared = checks.needed_bytes(make_recipe(tiny_base, preference_model=base | {"architecture": "shared_trunk"}))
    full = checks.needed_bytes(make_recipe(tiny_base, preference_model=base | {"architecture": "full"}))
    assert shared < separate < full
    # Rank 4 of width 32: an adapter is a quarter, held six times; two whole preference models.
    assert full == pytest.approx(size * (6 / 4 + 2))
    every_weight = checks.needed_bytes(make_recipe(tiny_base, policy={"base": str(tiny_base), "lora": None},
                                                   preference_model=base | {"architecture": "full"}))
    # In fp32: the result, and two checkpoints of the weights and two moments.
    assert every_weight == pytest.approx(size * (7 + 2), rel=0.05)


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_base, ppo={"checkpoint_every": 1})
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=rows)
    write, written = ppo.torch.save, []

    def full(value: Any, path: Path) -> None:
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        write(value, path)

    folder = tmp_path / "run"
    monkeypatch.setattr(ppo.torch, "save", full)
    reporter = EventFile(folder / "events.jsonl")
    assert runner._run(job, folder, reporter) == jobs.FAILED
    assert read_json(folder / "failure.json")["kind"] == "disk full"
    newest = newest_checkpoint(folder / "checkpoint")
    assert newest is not None and newest.name == "step-00000001"
    assert not (folder / "checkpoint" / "unfinished").exists()
    monkeypatch.setattr(ppo.torch, "save", write)
    assert runner._run(job, folder, reporter) == jobs.DONE
    reporter.close()


@pytest.mark.parametrize(("yaml", "field", "value"), [
    ("principles: [{name: detail, weight: .nan}]", "principles.0.weight", "nan"),
    ("principles: [{name: detail, weight: 0}]", "weights", "zero"),
    ("principles: [{name: detial}]", "principles", "detial"),
    ("principles: [{name: detail}]\nscalarization: {function: liner}", "scalarization.function", "liner"),
    ("principles: [{name: detail}]\nppo: {stpes: 3}", "ppo.stpes", ""),
])  # fmt: skip
def test_names_and_numbers_that_make_no_sense_are_refused_by_the_recipe(yaml: str, field: str, value: str) -> None:
    with pytest.raises(BadSettings) as refused:
        parse_recipe(yaml)
    assert field in str(refused.value) and value in str(refused.value).lower()
