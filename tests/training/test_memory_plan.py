"""What a run will need of memory, from its recipe and its models' sizes alone: by hand, and by laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from training.config import Recipe, check_recipe, shipped_recipe
from training.demo_world import WEIGHTS
from training.run import device, model_size
from training.run.device import Device, this_device
from training.run.memory_plan import (
    PROCESS,
    activation_bytes,
    adapter_parameters,
    linear_parameters,
    rows_of_an_sft_pass,
    run_memory,
    tokens_at_once,
    trunk_parameters,
)
from training.run.model_names import ModelHome
from training.run.model_size import ModelSize, size_in_name, size_of, size_of_config

LAPTOP = Device(16 * 10**9, False)
CARD = Device(16 * 10**9, True)
# SmolLM2-135M, whose parameters anybody can look up: 134,515,008.
SMOL = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49_152, "tie_word_embeddings": True}


def recipe(**changes: Any) -> Recipe:
    return check_recipe({"name": "memory", "principles": [{"name": "toxicity"}], **changes})


def test_the_demo_worlds_size_is_that_of_its_weights() -> None:
    size = size_of("demo-world", ModelHome())
    assert size is not None
    weights = load_file(WEIGHTS / "model.safetensors")
    assert size.parameters == sum(tensor.numel() for tensor in weights.values())
    assert (size.hidden, size.intermediate, size.layers, size.cache_width) == (160, 480, 3, 5 * 32)


def test_a_config_tells_the_parameters_of_a_decoder_up_to_its_norms() -> None:
    size = size_of_config(SMOL, "smol")
    assert size is not None and not size.is_guess
    assert size.parameters == pytest.approx(134_515_008, rel=0.001)
    assert trunk_parameters(size) == size.parameters, "the head is the embedding"
    assert linear_parameters(size) == size.parameters - 49_152 * 576
    untied = size_of_config(SMOL | {"tie_word_embeddings": False}, "smol")
    assert untied is not None and untied.parameters - size.parameters == 49_152 * 576
    assert trunk_parameters(untied) == size.parameters and linear_parameters(untied) == linear_parameters(size)


@pytest.mark.parametrize(("name", "parameters"), [
    ("Qwen/Qwen2.5-0.5B-Instruct", 5e8), ("meta-llama/Llama-3.1-8B-Instruct", 8e9), ("owner/SmolLM2-135M", 135e6),
    ("owner/model-v2", None), ("owner/gpt2", None), ("owner/base", None)])
def test_a_name_that_says_how_large_the_model_is(name: str, parameters: float | None) -> None:
    size = size_in_name(name)
    assert (size and size.parameters) == parameters
    assert size is None or size.is_guess


def test_the_shape_guessed_from_a_name_is_near_the_real_one() -> None:
    guessed, real = size_in_name("owner/SmolLM2-135M"), size_of_config(SMOL, "smol")
    assert guessed is not None and real is not None
    assert activation_bytes(guessed, 4) == pytest.approx(activation_bytes(real, 4), rel=0.05)


def test_an_adapter_has_rank_times_the_sides_of_every_matrix() -> None:
    # One layer of width 8 with keys of width 4 and an MLP of 16: q, o of 8x8; k, v of 8x4; gate, up, down of 8x16.
    size = ModelSize("tiny", 0, 0, 8, 16, 1, 4, 0)
    assert adapter_parameters(size, 2) == 2 * (2 * 16 + 2 * 12 + 3 * 24)


def test_the_memory_of_sampling_by_hand(tmp_path: Path) -> None:
    base = saved_config(tmp_path / "base", {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
                                            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 100})
    made = recipe(policy={"base": str(base)}, sample={"batch_size": 10, "max_new_tokens": 5},
                  preference_model={"base": str(base)})
    sampling = next(stage for stage in run_memory(made, LAPTOP, prompt_tokens=(7, 7, 7)).stages
                    if stage.kind == "sample")
    parameters = 2 * (2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16) + 100 * 8
    cache = 10 * (7 + 5) * 2 * 2 * 4 * 4
    prefill, logits = 10 * 7 * (4 * 8 + 3 * 16) * 4, 10 * 100 * (4 + 16)
    assert sampling.memory == (round(PROCESS + 4 * parameters + cache + max(prefill, logits)),) * 3
    assert sampling.base == str(base) and not sampling.is_guess


@pytest.mark.parametrize(("prompt", "row"), [(7, 7 + 2 * 5), (500, 2 * 504)])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_memory_of_a_preference_model_by_hand(prompt: int, row: int, dropout: float, tmp_path: Path) -> None:
    """The prompt is read once, unless it is cut; without dropout base and adapter are summed up beside the base."""
    base = saved_config(tmp_path / "base", {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
                                            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 100})
    made = recipe(policy={"base": str(base)}, sample={"max_new_tokens": 5}, preference_model={
        "base": str(base), "batch_size": 10, "max_length": 504, "lora": {"r": 2, "alpha": 4, "dropout": dropout}})
    training = next(stage for stage in run_memory(made, LAPTOP, prompt_tokens=(prompt,) * 3).stages
                    if stage.kind == "preference_model")
    linear = 2 * (2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16)
    adapter = 2 * 2 * (2 * 16 + 2 * 12 + 3 * 24)
    weights = 4 * (linear + 100 * 8) + 4 * 4 * adapter + (0 if dropout else 4 * linear)
    token = 2 * (12 * 8 + 5 * 16) * 4 + (2 * (6 * 8 + 16) if dropout else 0)
    scoring = 16_384 * (4 * 8 + 3 * 16) * 4
    assert training.memory.expected == round(PROCESS + weights + max(10 * row * token, scoring))


def test_longer_prompts_and_wider_numbers_need_more() -> None:
    memory = {(precision, kind.kind): kind.memory for precision in ("fp32", "bf16")
              for kind in run_memory(recipe(policy={"base": "owner/some-0.5B"}, precision=precision,
                                            preference_model={"base": "owner/some-0.5B"}), LAPTOP).stages}
    for kind in ("sample", "preference_model", "ppo", "evaluate"):
        wide, narrow = memory["fp32", kind], memory["bf16", kind]
        assert wide.low < wide.expected < wide.high
        # Half as many bytes per token let a preference model take twice as many tokens at once.
        assert kind == "preference_model" or narrow.expected < wide.expected


def test_a_gpu_holds_no_process_but_fills_itself_with_larger_passes() -> None:
    made = recipe(policy={"base": "owner/some-0.5B"}, precision="bf16", preference_model={"base": "owner/some-0.5B"},
                  ppo={"batch_size": 512, "micro_batch": 1})
    on_gpu, on_host = (run_memory(made, device).stages for device in (CARD, LAPTOP))
    ppo_on_gpu, ppo_on_host = (next(stage.memory for stage in stages if stage.kind == "ppo")
                               for stages in (on_gpu, on_host))
    assert ppo_on_host.expected < ppo_on_gpu.expected < CARD.total


@pytest.mark.parametrize(("precision", "item"), [("fp32", 4), ("bf16", 2)])
def test_a_policy_trained_in_full_takes_twenty_bytes_a_parameter(tmp_path: Path, precision: str, item: int) -> None:
    base = saved_config(tmp_path / "base", SMOL)
    sections = {"precision": precision, "sft": {"enabled": True, "batch_size": 1},
                "preference_model": {"base": str(base)}, "ppo": {"batch_size": 2, "micro_batch": 1, "minibatches": 2}}

    def expected(**policy: Any) -> dict[str, int]:
        made = recipe(policy={"base": str(base)} | policy, **sections)
        return {stage.kind: stage.memory.expected for stage in run_memory(made, LAPTOP).stages}

    adapter, full = expected(), expected(lora=None)
    size = size_of_config(SMOL, "smol")
    assert size is not None
    trained_adapter = 16 * adapter_parameters(size, 16)
    extra = {kind: full[kind] - adapter[kind] for kind in full}
    # PPO: weight, frozen reference, and in fp32 weight, gradient and two moments; bf16 has the weight twice.
    # Its largest pass is that of learning, for which no adapter is merged.
    assert extra["ppo"] == pytest.approx(20 * size.parameters - item * size.parameters - trained_adapter, abs=2)
    # Evaluation: two models, of which none is merged.
    assert extra["evaluate"] == pytest.approx(
        item * (size.parameters - linear_parameters(size)) - 4 * adapter_parameters(size, 16), abs=2)
    # Fine-tuning: weight, gradient and two moments in fp32, and bf16 copies of the weights for each pass.
    if precision == "fp32":
        assert extra["sft"] == pytest.approx(12 * size.parameters - trained_adapter, abs=2)
    else:
        assert extra["sft"] > 16 * size.parameters - trained_adapter, "activations of fp32 at most"
    measured = recipe(policy={"base": str(base), "lora": None}, **sections | {
        "principles": [{"name": "toxicity"}, {"name": "detail"}], "ppo": {"conflict_every": 1}})
    [ppo] = [stage.memory for stage in run_memory(measured, LAPTOP).stages if stage.kind == "ppo"]
    assert ppo.expected > (20 + 4 * 4) * size.parameters, "a gradient of each principle, and two at work"


def test_an_evaluation_that_asks_the_preference_models_holds_them_too(tmp_path: Path) -> None:
    base = saved_config(tmp_path / "base", SMOL)
    size = size_of_config(SMOL, "smol")
    assert size is not None

    def needed(principle: dict[str, Any], best_of: int = 0) -> int:
        made = recipe(policy={"base": str(base)}, preference_model={"base": str(base)}, principles=[principle],
                      evaluate={"best_of": best_of})
        return next(stage.memory.expected for stage in run_memory(made, LAPTOP).stages if stage.kind == "evaluate")

    judged, measured = {"name": "toxicity"}, {"name": "toxicity", "measure": {"kind": "words"}}
    trunk = 4 * trunk_parameters(size)
    assert needed(measured) - needed(judged) == pytest.approx(trunk, abs=2)
    assert needed(judged, best_of=4) - needed(judged) == pytest.approx(trunk, abs=2)
    assert needed(measured | {"serves": "reward"}) == needed(judged), "there is no model to ask"


def test_stages_that_a_recipe_does_not_have_are_not_planned() -> None:
    kinds = [stage.kind for stage in run_memory(recipe(sample={"pairs": "dataset"}, data={"source": "owner/data"},
                                                       judge={"kind": "local", "model": "owner/judge-3B"}),
                                                LAPTOP).stages]
    assert kinds == ["label", "preference_model", "ppo", "evaluate"]
    assert "sft" in [stage.kind for stage in run_memory(recipe(sft={"enabled": True}), LAPTOP).stages]


def test_a_model_of_unknown_size_is_named_and_not_guessed_at() -> None:
    memory = run_memory(recipe(policy={"base": "owner/mystery"}), LAPTOP)
    assert memory.unknown == ["owner/mystery"]
    assert [stage.kind for stage in memory.stages] == ["preference_model"]


def test_the_presets_fit_what_they_promise() -> None:
    """Small GPU says 16 GB, large GPU 80 GB."""
    for name, gigabytes in (("small_gpu", 16), ("large_gpu", 80)):
        for stage in run_memory(shipped_recipe(name), Device(gigabytes * 10**9, True)).stages:  # type: ignore[arg-type]
            assert stage.memory.expected < 0.95 * gigabytes * 10**9, (name, stage)


@given(st.integers(1, 10**12), st.floats(1e3, 1e8), st.booleans())
def test_a_pass_is_a_power_of_two_that_its_share_of_the_memory_holds(total: int, token: float, is_gpu: bool) -> None:
    tokens = tokens_at_once(token, Device(total, is_gpu))
    assert 512 <= tokens <= 16_384 and tokens & (tokens - 1) == 0
    assert tokens == 512 or tokens * token <= total * (0.5 if is_gpu else 0.25)


def test_a_batch_of_fine_tuning_is_cut_into_equal_parts_that_fit() -> None:
    # 100 tokens of 1 MB are 100 MB a row, and a GPU of 1 GB gives half of itself: five rows, and 16 has the part 4.
    assert rows_of_an_sft_pass(16, 100, 1e6, Device(10**9, True)) == 4
    assert rows_of_an_sft_pass(16, 100, 1e6, Device(10**9, False)) == 2, "a host gives a quarter"
    assert rows_of_an_sft_pass(7, 100, 1e6, Device(10**9, True)) == 1
    assert rows_of_an_sft_pass(16, 1, 1e3, Device(10**9, True)) == 16


def test_gpus_are_read_from_the_drivers_own_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'NVIDIA L4, 23034\\nNVIDIA H100, 81559\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert this_device() == Device(81_559 * 2**20, True, "NVIDIA H100")
    assert this_device("cpu") == Device(device.host_bytes(), False, "this machine")
    tool.write_text("#!/bin/sh\necho 'no devices were found' >&2; exit 6\n")
    assert not this_device().is_gpu


def test_a_config_in_the_hubs_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "config.json"
    cached.write_text(json.dumps(SMOL))
    monkeypatch.setattr(model_size, "_cached_config", lambda name: json.loads(cached.read_text()))
    size = size_of("owner/mystery", ModelHome())
    assert size is not None and size.layers == 30 and not size.is_guess


def saved_config(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder
