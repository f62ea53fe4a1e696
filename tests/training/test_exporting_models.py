"""A run's models in a bare environment: transformers alone loads them, and they say what they said in Concord."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.bare_process import in_a_bare_process
from tests.training.stage_folders import pair
from tests.training.tiny_families import make_family
from tests.training.tiny_models import PROMPTS, Remembering, make_recipe
from training.errors import BadData, ModelUnavailable
from training.export import export_stage
from training.models import language_model
from training.preference_models import PreferenceModels
from training.preference_models.texts import encode
from training.run.artifacts import Job, write_json, write_jsonl, write_manifest
from training.run.pipeline import plan
from training.stages import ppo, preference_model


def finished(kind: str, folder: Path, recipe: Any, inputs: dict[str, Path], run: Any,
             files: dict[str, list[dict[str, Any]]]) -> Path:
    """A stage of a recipe, run to its end."""
    stage = next(stage for stage in plan(recipe) if stage.kind == kind)
    paths = {role: folder / "files" / f"{role}.jsonl" for role in files}
    for role, rows in files.items():
        write_jsonl(paths[role], rows)
    job = Job(name=stage.name, kind=kind, identity="0" * 64, settings=stage.settings, inputs=inputs, files=paths)
    write_json(folder / "job.json", job.model_dump(mode="json"))
    run(job, folder, Remembering())
    write_manifest(folder)
    return folder


def finished_ppo(folder: Path, base: Path, inputs: dict[str, Path], **changes: Any) -> Path:
    settings = {"steps": 2, "batch_size": 4, "max_new_tokens": 6, "learning_rate": 0.05, "sample_prompts": 0}
    recipe = make_recipe(base, ppo=settings, **changes)
    return finished("ppo", folder, recipe, inputs, ppo.run, {"prompts": [{"prompt": prompt} for prompt in PROMPTS]})


def finished_preference_model(folder: Path, base: Path, **settings: Any) -> Path:
    recipe = make_recipe(base, preference_model={"base": str(base), "epochs": 2, "learning_rate": 0.05,
                                                 "batch_size": 4, "max_length": 64, **settings})
    pairs = [pair(number) for number in range(12)]
    shared = settings.get("architecture") == "shared_trunk"
    roles = [f"labels:{choice.name}" for choice in recipe.principles] if shared else ["labels"]
    labels = [{"pair": row["digest"], "probability": 0.9 if number % 3 else 0.2} for number, row in enumerate(pairs)]
    return finished("preference_model", folder, recipe, {}, preference_model.run,
                    {"pairs": pairs, **dict.fromkeys(roles, labels)})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_policy_is_a_whole_model_that_says_what_base_and_adapter_said(
        precision: str, tiny_base: Path, ppo_inputs: dict[str, Path], tmp_path: Path) -> None:
    stage = finished_ppo(tmp_path / "ppo", tiny_base, ppo_inputs, precision=precision)
    export_stage(stage, tmp_path / "policy")
    language = language_model.load(tiny_base, torch.device("cpu"), precision)
    ids = language_model.encode_prompt(language.tokenizer, PROMPTS[0])
    with torch.no_grad():
        untrained = language.model(torch.tensor([ids])).logits
        tuned = language_model.load_adapter(language, stage / "adapter").model(torch.tensor([ids])).logits.float()
    bare = in_a_bare_process("AutoModelForCausalLM", tmp_path / "policy", ids)
    logits = torch.tensor(bare["logits"])
    error, change = (logits - tuned).norm(), (tuned - untrained.float()).norm()
    assert error < (1e-4 if precision == "fp32" else 0.1) * change, "training changed it, and exporting did not"
    assert {path.suffix for path in (tmp_path / "policy").iterdir()} == {".json", ".safetensors"}


def test_a_policy_of_which_every_weight_was_trained_is_that_model(
        tiny_base: Path, ppo_inputs: dict[str, Path], tmp_path: Path) -> None:
    stage = finished_ppo(tmp_path / "ppo", tiny_base, ppo_inputs, policy={"base": str(tiny_base), "lora": None})
    export_stage(stage, tmp_path / "policy")
    tuned = language_model.load(stage / "model", torch.device("cpu"))
    ids = language_model.encode_prompt(tuned.tokenizer, PROMPTS[0])
    with torch.no_grad():
        expected = tuned.model(torch.tensor([ids])).logits
    bare = in_a_bare_process("AutoModelForCausalLM", tmp_path / "policy", ids)
    assert torch.allclose(torch.tensor(bare["logits"]), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["separate", "shared_trunk", "full"])
def test_a_preference_model_is_a_classifier_whose_logits_are_its_scores(
        architecture: str, tiny_base: Path, tmp_path: Path) -> None:
    stage = finished_preference_model(tmp_path / "stage", tiny_base, architecture=architecture)
    export_stage(stage, tmp_path / "reward")
    names = ["factuality", "toxicity"] if architecture == "shared_trunk" else ["factuality"]
    models = PreferenceModels.load(dict.fromkeys(names, stage))
    expected = models.score_raw([PROMPTS[0]], ["The owl."])[0]
    tokenizer = language_model.load_tokenizer(str(tiny_base))
    bare = in_a_bare_process("AutoModelForSequenceClassification", tmp_path / "reward",
                             encode(tokenizer, PROMPTS[0], "The owl.", 64))
    assert list(bare["labels"].values()) == names
    assert torch.allclose(torch.tensor(bare["logits"][0]), expected, atol=1e-4)
    scale = json.loads((tmp_path / "reward" / "concord.json").read_text())
    for key, values in (("mean", models.mean), ("std", models.std)):
        assert [scale[name][key] for name in names] == pytest.approx(values.tolist())


def test_padding_at_the_right_changes_no_score(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    export_stage(finished_preference_model(tmp_path / "stage", tiny_base), tmp_path / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    texts = [f"\n\nHuman: Hello!\n\nAssistant: {reply}{tokenizer.eos_token}" for reply in ("Yes.", "The owl of Avela.")]
    with torch.no_grad():
        together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        alone = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_family_without_such_a_classifier_is_refused_by_name(tmp_path: Path) -> None:
    base = make_family("mamba", tmp_path / "mamba")
    with pytest.raises(ModelUnavailable, match="mamba"):
        export_stage(finished_preference_model(tmp_path / "stage", base), tmp_path / "reward")
    assert not (tmp_path / "reward").exists()


def test_what_cannot_be_exported_is_named_and_nothing_is_left_behind(
        tiny_base: Path, ppo_inputs: dict[str, Path], tmp_path: Path) -> None:
    stage = finished_ppo(tmp_path / "ppo", tiny_base, ppo_inputs)
    (tmp_path / "there").mkdir()
    with pytest.raises(BadData, match="'there' exists already"):
        export_stage(stage, tmp_path / "there")
    (stage / "manifest.json").unlink()
    with pytest.raises(BadData, match="not finished"):
        export_stage(stage, tmp_path / "policy")
    weights = tmp_path / "weights"
    write_json(weights / "job.json", Job(name="weights", kind="weights", identity="0" * 64, settings={}, inputs={},
                                         files={}).model_dump(mode="json"))
    write_manifest(weights)
    with pytest.raises(BadData, match="'weights' makes no model"):
        export_stage(weights, tmp_path / "policy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ppo", "there", "weights"]
