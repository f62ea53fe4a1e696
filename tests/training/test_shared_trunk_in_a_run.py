"""A shared trunk in the pipeline: one stage for all principles, read by principle, and touched by each correction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.training.test_preference_model_architectures import shared_job
from tests.training.tiny_models import (
    PROMPTS,
    Remembering,
    make_job,
    make_preference_model,
    make_recipe,
    make_tokenizer,
)
from training.config import Recipe
from training.errors import BadSettings
from training.models.language_model import load_tokenizer
from training.preference_models import PreferenceModels
from training.quality import quality_card
from training.run.artifacts import Job, write_json
from training.run.pipeline import SHARED, StagePlan, identities, plan, served_by
from training.stages import ppo
from training.stages import preference_model as stage

DIGESTS = {"prompts": "p", "held_out": "h"}


def recipe_of(architecture: str, **more: Any) -> Recipe:
    return Recipe.model_validate({"principles": [{"name": "factuality"}, {"name": "toxicity"}, {"name": "empathy"}],
                                  "preference_model": {"architecture": architecture}, **more})


def named(recipe: Recipe) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in plan(recipe)}


def test_one_stage_reads_every_label_and_serves_every_principle() -> None:
    stages = named(recipe_of("shared_trunk"))
    [trained] = [stage for stage in stages.values() if stage.kind == "preference_model"]
    assert trained.name == SHARED and trained.principle is None
    assert [role for role in trained.inputs if role.startswith("label")] == [
        "label:factuality", "label:toxicity", "label:empathy"]
    for reader in ("weights", "ppo"):
        read = {name for role, name in stages[reader].inputs.items() if role.startswith("preference_model:")}
        assert read == {SHARED}
    assert served_by(list(stages.values())) == dict.fromkeys(["factuality", "toxicity", "empathy"], SHARED)


@pytest.mark.parametrize("architecture", ["separate", "full"])
def test_else_each_principle_has_a_stage_of_its_own(architecture: str) -> None:
    stages = plan(recipe_of(architecture))
    assert served_by(stages) == {name: f"preference_model:{name}" for name in ("factuality", "toxicity", "empathy")}


def test_a_corrected_label_makes_the_shared_trunk_another_and_leaves_the_labels_as_they_are() -> None:
    stages = plan(recipe_of("shared_trunk"))
    before = identities(stages, DIGESTS)
    after = identities(stages, DIGESTS, {"toxicity": "changed", "empathy": ""})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {SHARED, "weights", "ppo", "evaluate"}
    assert identities(stages, DIGESTS, {"toxicity": "", "unknown": "changed"}) == before


def test_changing_how_models_are_built_buys_no_label_again() -> None:
    separate, shared = (identities(plan(recipe_of(kind)), DIGESTS) for kind in ("separate", "shared_trunk"))
    assert all(separate[name] == shared[name] for name in separate if name.startswith(("label:", "sample")))
    assert separate["ppo"] != shared["ppo"]


def test_a_baseline_has_one_head_on_its_trunk() -> None:
    stages = named(recipe_of("shared_trunk", baseline={"kind": "single_pm"}))
    assert stages["preference_model:constitution"].inputs["label"] == "draw"


def test_full_models_with_upper_layers_only_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'full' trains every layer; set 'lora_layers' from 2 to 0"):
        recipe_of("full", preference_model={"architecture": "full", "lora_layers": 2})


# In the reward --------------------------------------------------------------------------------------------------------


def trained_by_shared_trunk(folder: Path, base: Path) -> Path:
    made = shared_job(folder, base, epochs=1)
    stage.run(made, folder, Remembering())
    return folder


def test_ppo_is_rewarded_by_the_heads_of_one_trunk(tiny_base: Path, tmp_path: Path) -> None:
    principles = {"principles": [{"name": "toxicity", "weight": 3}, {"name": "rudeness", "statement": "ruder"}]}
    recipe = make_recipe(tiny_base, ppo={"steps": 1}, **principles,
                         preference_model={"architecture": "shared_trunk", "base": str(tiny_base)})
    trunk = trained_by_shared_trunk(tmp_path / "trunk", tiny_base)
    write_json(tmp_path / "weights" / "weights.json", {"weights": {"toxicity": 0.75, "rudeness": 0.25}})
    inputs = {"preference_model:toxicity": trunk, "preference_model:rudeness": trunk, "weights": tmp_path / "weights"}
    job = make_job(recipe, "ppo", tmp_path, inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path, reporter)
    last = reporter.metrics[max(reporter.metrics)]
    for name, share in (("toxicity", 0.75), ("rudeness", 0.25)):
        assert last[f"principle/{name}/weighted"] == pytest.approx(share * last[f"principle/{name}/standardised"])


# Another base ---------------------------------------------------------------------------------------------------------


def other_base(folder: Path) -> Path:
    """A wider, random Llama whose tokenizer cuts the same text into other tokens with other numbers."""
    ours = make_tokenizer()
    core = ours.backend_tokenizer
    words = [word for word in ours.get_vocab() if not word.startswith("<")][::-1]
    vocabulary = {token: i for i, token in enumerate(["</s>", "<unk>", "<pad>", *words[::2]])}
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = core.pre_tokenizer, core.decoder
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")
    torch.manual_seed(8)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=3,
        max_position_embeddings=128, initializer_range=0.3)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_preference_model_may_have_another_base_and_tokenizer_than_the_policy(tiny_base: Path,
                                                                                 tmp_path: Path) -> None:
    other = other_base(tmp_path / "other")
    text = "Is the flag of Elsby red?"
    assert load_tokenizer(str(other))(text)["input_ids"] != load_tokenizer(str(tiny_base))(text)["input_ids"]
    inputs = {"preference_model:factuality": make_preference_model(tmp_path / "factuality", other, seed=1),
              "preference_model:toxicity": make_preference_model(tmp_path / "toxicity", tiny_base, seed=2),
              "weights": tmp_path / "weights"}
    write_json(tmp_path / "weights" / "weights.json", {"weights": {"factuality": 0.75, "toxicity": 0.25}})
    job = make_job(make_recipe(tiny_base, ppo={"steps": 1}), "ppo", tmp_path, inputs,
                   prompts=[{"prompt": prompt} for prompt in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path, reporter)
    _, _, prompt, response, _, rewards = reporter.samples[0]
    models = PreferenceModels.load({name: inputs[f"preference_model:{name}"] for name in ("factuality", "toxicity")})
    scores = models.score([PROMPTS[0]], [response])
    assert prompt == PROMPTS[0][0]["content"]
    assert scores.tolist()[0] == pytest.approx([rewards["factuality"], rewards["toxicity"]], abs=1e-4)


def test_a_base_with_too_few_layers_is_named_before_anything_is_trained(tiny_base: Path, tmp_path: Path) -> None:
    made: Job = shared_job(tmp_path, tiny_base, lora_layers=3)
    with pytest.raises(BadSettings, match=r"'preference_model.lora_layers' is 3 and .* has 2 layers"):
        stage.run(made, tmp_path, Remembering())
    assert not (tmp_path / quality_card.CARD).exists()
