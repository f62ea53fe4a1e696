"""A mix of policies is exactly the weighted sum of what they add to their base, in an adapter that peft reads."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.training.lora_folders import CPU, logits, make_lora, with_adapter
from tests.training.tiny_models import PROMPTS, Remembering, make_base, make_job, make_recipe
from training.__main__ import main
from training.errors import BadData, BadSettings, ModelUnavailable, TrainingError
from training.models import language_model
from training.models.policy_mix import Weighted, mix_policies
from training.run.artifacts import Job, file_digest, read_json, write_json, write_manifest
from training.stages import ppo

SHAPES: list[dict[str, Any]] = [
    {"r": 4, "lora_alpha": 32},
    {"r": 2, "lora_alpha": 3, "rank_pattern": {"layers.1.self_attn.q_proj": 5}, "alpha_pattern": {"up_proj": 7}},
    {"r": 3, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
]
"""Everything in which two adapters may differ: ranks, scalings, and the layers that they are on."""


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("loras")
    return [make_lora(folder / f"lora{number}", tiny_base, number, **shape) for number, shape in enumerate(SHAPES)]


def mixed(folders: list[Path], weights: list[float], out: Path) -> Path:
    mix_policies([Weighted(*each) for each in zip(folders, weights, strict=True)], out)
    return out


@torch.no_grad()
def summed_weights(base: Path, folders: list[Path], weights: list[float]) -> torch.Tensor:
    """The logits of the base after the weighted sum of what peft says each adapter adds was added to its weights."""
    language = language_model.load(str(base), CPU)
    added = {name: parameter.double() for name, parameter in language.model.named_parameters()}
    for folder, weight in zip(folders, weights, strict=True):
        tuned = with_adapter(base, folder)
        for name, layer in tuned.model.named_modules():
            if hasattr(layer, "lora_A"):
                added[f"{name}.weight"] += weight * layer.get_delta_weight("default").double()
    for name, parameter in language.model.named_parameters():
        parameter.copy_(added[name])
    return logits(language)


@pytest.mark.parametrize("weights", [[0.3, 0.5, 0.2], [1.5, -0.7, 0.4], [-2.0, 0.0, 3.0]])
def test_a_mix_says_what_the_base_with_the_summed_weights_says(
    tiny_base: Path, loras: list[Path], tmp_path: Path, weights: list[float],
) -> None:
    mix = logits(with_adapter(tiny_base, mixed(loras, weights, tmp_path / "mix")))
    expected = summed_weights(tiny_base, loras, weights)
    assert (mix - expected).abs().max() < 1e-5
    assert (mix - summed_weights(tiny_base, loras[:1], weights[:1])).abs().max() > 0.1  # the others are heard


def test_a_sum_by_hand(tiny_base: Path, tmp_path: Path) -> None:
    """0.5 * (4 / 2) * B1 A1 - 1 * (3 / 1) * B2 A2: the factors stand side by side, scaled."""
    only = {"target_modules": ["model.layers.0.self_attn.q_proj"]}
    first = make_lora(tmp_path / "first", tiny_base, 1, r=2, lora_alpha=4, **only)
    second = make_lora(tmp_path / "second", tiny_base, 2, r=1, lora_alpha=3, **only)
    mix = mixed([first, second], [0.5, -1], tmp_path / "mix")
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    one, two, made = (load_file(folder / "adapter_model.safetensors") for folder in (first, second, mix))
    assert sorted(made) == [key.format("A"), key.format("B")]
    assert torch.equal(made[key.format("A")], torch.cat([one[key.format("A")], two[key.format("A")]]))
    assert torch.equal(made[key.format("B")], torch.cat([one[key.format("B")], -3 * two[key.format("B")]], dim=1))


def test_one_policy_with_weight_one_is_that_policy(tiny_base: Path, loras: list[Path], tmp_path: Path) -> None:
    mix = with_adapter(tiny_base, mixed(loras, [0, 1, 0], tmp_path / "mix"))
    assert torch.allclose(logits(mix), logits(with_adapter(tiny_base, loras[1])), atol=1e-5)


def test_weights_of_zero_are_the_base(tiny_base: Path, loras: list[Path], tmp_path: Path) -> None:
    mix = with_adapter(tiny_base, mixed(loras, [0, 0, 0], tmp_path / "mix"))
    assert torch.equal(logits(mix), logits(language_model.load(str(tiny_base), CPU)))


def test_the_order_of_the_policies_does_not_matter(tiny_base: Path, loras: list[Path], tmp_path: Path) -> None:
    there = mixed(loras, [0.3, 0.5, -0.2], tmp_path / "there")
    back = mixed(loras[::-1], [-0.2, 0.5, 0.3], tmp_path / "back")
    assert torch.allclose(logits(with_adapter(tiny_base, there)), logits(with_adapter(tiny_base, back)), atol=1e-5)


def test_a_mix_can_be_mixed_again(tiny_base: Path, loras: list[Path], tmp_path: Path) -> None:
    half = mixed(loras[:2], [0.5, 0.5], tmp_path / "half")
    again = logits(with_adapter(tiny_base, mixed([half, loras[2]], [2, -1], tmp_path / "again")))
    assert (again - summed_weights(tiny_base, loras, [1, 1, -1])).abs().max() < 1e-5


def test_peft_reads_it_plainly_as_one_rank_for_every_layer(
    tiny_base: Path, loras: list[Path], tmp_path: Path, recwarn: pytest.WarningsRecorder,
) -> None:
    mix = mixed(loras, [0.3, 0.5, 0.2], tmp_path / "mix")
    plain: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), str(mix))
    assert not [warning for warning in recwarn if "missing" in str(warning.message).lower()]
    settings = plain.peft_config["default"]
    assert (settings.r, settings.lora_alpha) == (12, 12)  # 4 + 5 + 3 in the query of the second layer
    assert not settings.rank_pattern and not settings.alpha_pattern and not settings.use_rslora
    scalings = {layer.scaling["default"] for layer in plain.modules() if hasattr(layer, "lora_A")}
    assert scalings == {1.0}
    assert settings.base_model_name_or_path == "base" and str(tmp_path) not in (mix / "adapter_config.json").read_text()


def test_it_names_what_was_mixed(loras: list[Path], tmp_path: Path) -> None:
    said = read_json(mixed(loras[:2], [0.25, -1], tmp_path / "mix") / "mix.json")
    digests = [file_digest(folder / "adapter_model.safetensors") for folder in loras]
    assert said == {"version": 1, "kind": "soup", "rank": 9, "base": {"name": "base", "revision": "", "sft": ""},
                    "policies": [{"policy": "lora0", "weight": 0.25, "sha256": digests[0]},
                                 {"policy": "lora1", "weight": -1, "sha256": digests[1]}]}


@pytest.mark.parametrize(("weight", "said"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_weight_that_is_no_number_is_refused(loras: list[Path], tmp_path: Path, weight: float, said: str) -> None:
    with pytest.raises(BadSettings, match=f"The weight of '.*lora1' is {said}"):
        mixed(loras[:2], [1, weight], tmp_path / "mix")
    assert not (tmp_path / "mix").exists()


def test_weights_that_no_number_of_the_file_can_hold_are_refused(loras: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"the mix is not finite in the layer model\.layers\.0.* Give smaller ones"):
        mixed(loras[:2], [1e300, 1], tmp_path / "mix")


def test_no_policy_is_no_mix(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No policy is given"):
        mix_policies([], tmp_path / "mix")


@pytest.mark.parametrize(("shape", "said"), [
    ({"use_dora": True}, "'use_dora' is True"),
    ({"bias": "lora_only"}, "'bias' is lora_only"),
    ({"lora_bias": True}, "'lora_bias' is True"),
    ({"modules_to_save": ["lm_head"]}, r"'modules_to_save' is \['lm_head'\]"),
    ({"target_modules": ["embed_tokens", "q_proj"]}, "it holds base_model.model.model.embed_tokens.lora_embedding_A"),
    ({"init_lora_weights": "pissa"}, "'init_lora_weights' is pissa"),
])
def test_what_is_more_than_a_product_is_refused(
    tiny_base: Path, loras: list[Path], tmp_path: Path, shape: dict[str, Any], said: str,
) -> None:
    strange = make_lora(tmp_path / "strange", tiny_base, 5, r=2, **shape)
    with pytest.raises(ModelUnavailable, match=f"adapter of 'strange' is no plain LoRA: {said}"):
        mixed([loras[0], strange], [1, 1], tmp_path / "mix")


def test_another_base_is_refused_by_its_name_and_by_its_shape(
    tiny_base: Path, loras: list[Path], tmp_path: Path,
) -> None:
    named = make_lora(tmp_path / "named", tiny_base, 5, name="other", r=2)
    with pytest.raises(BadData, match="'lora0' and 'named' have different bases: the base is 'base' and 'other'"):
        mixed([loras[0], named], [1, 1], tmp_path / "mix")
    wide = make_lora(tmp_path / "wide", tiny_base, 5, r=2, target_modules=["down_proj"])
    tensors = load_file(wide / "adapter_model.safetensors")
    save_file({key: torch.cat([tensor, tensor], dim=1) if "lora_A" in key else tensor
               for key, tensor in tensors.items()}, wide / "adapter_model.safetensors")
    with pytest.raises(BadData, match=r"layers\.0\.mlp\.down_proj maps 48 to 32 and 96 to 32 values"):
        mixed([loras[0], wide], [1, 1], tmp_path / "mix")


def broken(loras: list[Path], folder: Path, change: str) -> Path:
    shutil.copytree(loras[0], folder)
    weights, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    tensors = load_file(weights)
    first = next(iter(tensors))
    if change == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif change == "gone":
        weights.unlink()
    elif change == "nan":
        save_file(tensors | {first: tensors[first] * math.nan}, weights)
    elif change == "half":
        save_file({key: tensor for key, tensor in tensors.items() if key != first}, weights)
    elif change == "none":
        save_file({}, weights)
    elif change == "alpha":
        write_json(settings, read_json(settings) | {"lora_alpha": "high"})
    elif change == "list":
        settings.write_text("[]")
    elif change == "mix":
        (folder / "mix.json").write_text("[]")
    return folder


@pytest.mark.parametrize(("change", "said"), [
    ("cut", "cannot be read"), ("gone", "cannot be read"), ("nan", "is not finite in the layer model.layers.0"),
    ("half", "is no plain LoRA: it holds model.layers.0"), ("none", "is no plain LoRA: it holds no layer"),
    ("alpha", "'lora_alpha' of the layer model.layers.0.* is 'high'"), ("list", "cannot be read"),
    ("mix", "cannot be read"),
])
def test_a_broken_adapter_is_named(loras: list[Path], tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(ModelUnavailable, match=f"adapter of 'broken' {said}|adapter of 'broken' .*{said}"):
        mixed([loras[1], broken(loras, tmp_path / "broken", change)], [1, 1], tmp_path / "mix")


def stage(folder: Path, lora: Path | None, kind: str = "ppo", sft: Path | None = None, identity: str = "a") -> Path:
    """The folder of a complete stage, with an adapter and one that was kept."""
    folder.mkdir(parents=True)
    job = Job(name=kind, kind=kind, identity=identity, settings={}, inputs={"sft": sft} if sft else {})
    write_json(folder / "job.json", job.model_dump(mode="json"))
    for place in ("adapter", "kept/step-00000020/adapter"):
        if lora is not None:
            shutil.copytree(lora, folder / place)
    write_manifest(folder)
    return folder


def test_the_command_mixes_stages_and_kept_policies(
    tiny_base: Path, loras: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    polite, brief = stage(tmp_path / "polite", loras[0]), stage(tmp_path / "lr=1" / "brief", loras[1])
    kept = brief / "kept" / "step-00000020"
    out = tmp_path / "mix"
    assert main(["mix", str(out), "--policy", f"{polite}=0.3", "--policy", f"{kept}=-7e-1"]) == 0
    assert capsys.readouterr().out == f"written: {out}\n"
    assert [(each["policy"], each["weight"]) for each in read_json(out / "mix.json")["policies"]] == [
        ("polite", 0.3), ("brief/kept/step-00000020", -0.7)]
    assert (logits(with_adapter(tiny_base, out)) - summed_weights(tiny_base, loras[:2], [0.3, -0.7])).abs().max() < 1e-5
    assert main(["mix", str(out), "--policy", f"{polite}=1"]) == 1
    assert capsys.readouterr().err.startswith("error: The folder 'mix' exists already.")
    assert main(["mix", str(out / "mix.json" / "deeper"), "--policy", f"{polite}=1"]) == 1
    assert capsys.readouterr().err.startswith("error: The folder 'deeper' cannot be made: ")
    assert not list(tmp_path.glob(".mix*"))


def test_policies_of_the_ppo_stage_are_mixed_whichever_algorithm_trained_them(
    tiny_base: Path, ppo_inputs: dict[str, Path], tmp_path: Path,
) -> None:
    """TRL makes the adapters of GRPO, and Concord those of PPO; the base is named as in both."""
    folders = []
    grpo = {"algorithm": "grpo", "group_size": 3, "minibatches": 1, "group_normalise": "each"}
    for name, changes in (("ppo", {}), ("grpo", grpo)):
        recipe = make_recipe(tiny_base, ppo={"steps": 2, "learning_rate": 0.005} | changes)
        job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
        folders.append(tmp_path / name)
        ppo.run(job, folders[-1], Remembering())
    mix = logits(with_adapter(tiny_base, mixed(folders, [0.5, 0.5], tmp_path / "mix")))
    expected = summed_weights(tiny_base, [folder / "adapter" for folder in folders], [0.5, 0.5])
    assert (mix - expected).abs().max() < 1e-5
    assert (mix - logits(language_model.load(str(tiny_base), CPU))).abs().max() > 1e-3


@pytest.mark.parametrize("text", ["polite", "polite=", "=0.3", "polite=much"])
def test_a_policy_without_a_weight_says_how_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str,
) -> None:
    assert main(["mix", str(tmp_path / "mix"), "--policy", text]) == 1
    assert capsys.readouterr().err == (f"error: '--policy {text}' names no folder and weight. Give it as in --policy "
                                       "runs/polite=0.3.\n")


def test_policies_of_other_sft_stages_have_other_bases(loras: list[Path], tmp_path: Path) -> None:
    """Each of them says that its base is called "model"."""
    sfts = [stage(tmp_path / name, None, "sft", identity=identity) for name, identity in (
        ("first", "one"), ("second", "two"), ("copy", "one"))]
    policies = [stage(tmp_path / f"ppo{number}", loras[number], sft=sft) for number, sft in enumerate(sfts)]
    with pytest.raises(BadData, match="'ppo0' and 'ppo1' have different bases: the sft stage is 'one' and 'two'"):
        mixed(policies[:2], [1, 1], tmp_path / "mix")
    same = mixed([policies[0], policies[2]], [1, 1], tmp_path / "mix")
    with pytest.raises(BadData, match="'mix' and 'ppo1' have different bases"):
        mixed([same, policies[1]], [1, 1], tmp_path / "mix2")


def test_folders_without_an_adapter_say_why(tiny_base: Path, tmp_path: Path) -> None:
    unfinished = stage(tmp_path / "unfinished", None)
    (unfinished / "manifest.json").unlink()
    full = stage(tmp_path / "full", None)
    make_base(full / "model")
    for folder, said in ((unfinished, "is not finished"), (full, "Every weight of the policy in 'full' was trained"),
                         (full / "model", "Every weight"), (stage(tmp_path / "label", None, "label"), "kind 'label'"),
                         (tmp_path / "nowhere", "There is no adapter in")):
        with pytest.raises(TrainingError, match=said):
            mixed([folder], [1], tmp_path / "mix")
