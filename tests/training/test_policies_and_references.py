"""Loading bases, adapters on and off, merged and put back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from tests.training.tiny_models import PROMPTS
from training.config import Lora
from training.errors import ModelUnavailable, OutOfMemory
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel

CPU = torch.device("cpu")


@pytest.fixture
def language(tiny_base: Path) -> LanguageModel:
    """The tiny base with an adapter that has learnt something: its second half is no longer zero."""
    torch.manual_seed(0)
    model = language_model.add_adapter(language_model.load(str(tiny_base), CPU), Lora(r=4))
    for parameter in language_model.trainable_parameters(model):
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def logits(language: LanguageModel) -> torch.Tensor:
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 4)
    with torch.no_grad():
        return torch.as_tensor(language.model(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits)


def test_a_fresh_adapter_changes_nothing(tiny_base: Path) -> None:
    base = language_model.load(str(tiny_base), CPU)
    before = logits(base)
    assert torch.equal(logits(language_model.add_adapter(base, Lora(r=4))), before)


def test_the_adapter_is_on_every_linear_layer_of_the_decoder_and_on_no_head(language: LanguageModel) -> None:
    trained = {name.split(".lora_")[0] for name, p in language.model.named_parameters() if p.requires_grad}
    layers = {name.rsplit(".", 1)[-1] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert len(trained) == 2 * 7


def test_the_reference_is_the_base(language: LanguageModel, tiny_base: Path) -> None:
    base = logits(language_model.load(str(tiny_base), CPU))
    tuned = logits(language)
    trained = [p.requires_grad for p in language.model.parameters()]
    with language_model.reference(language):
        assert torch.equal(logits(language), base)
    assert torch.equal(logits(language), tuned)
    assert not torch.allclose(tuned, base)
    assert [p.requires_grad for p in language.model.parameters()] == trained


def test_merged_weights_say_the_same_and_are_put_back_to_the_bit(language: LanguageModel) -> None:
    before = {name: parameter.clone() for name, parameter in language.model.named_parameters()}
    unmerged = logits(language)
    with language_model.merged(language):
        assert torch.allclose(logits(language), unmerged, atol=1e-4)
        weight = language.model.model.layers[0].mlp.up_proj.base_layer.weight
        assert not torch.equal(weight, before["model.layers.0.mlp.up_proj.base_layer.weight"])
    assert all(torch.equal(parameter, before[name]) for name, parameter in language.model.named_parameters())
    assert torch.equal(logits(language), unmerged)


def test_weights_are_put_back_when_decoding_fails(language: LanguageModel) -> None:
    before = logits(language)
    with pytest.raises(KeyError), language_model.merged(language):
        raise KeyError
    assert torch.equal(logits(language), before)


def test_an_adapter_survives_its_folder(language: LanguageModel, tiny_base: Path, tmp_path: Path) -> None:
    language_model.save_adapter(language, tmp_path)
    assert str(tiny_base) not in (tmp_path / "adapter_config.json").read_text()
    again = language_model.load_adapter(language_model.load(str(tiny_base), CPU), tmp_path)
    assert torch.equal(logits(again), logits(language))
    assert language_model.trainable_parameters(again) == []


def test_an_adapter_of_another_base_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    other = language_model.add_adapter(language_model.load("demo-world", CPU), Lora(r=4))
    language_model.save_adapter(other, tmp_path)
    with pytest.raises(ModelUnavailable, match="does not fit its base"):
        language_model.load_adapter(language_model.load(str(tiny_base), CPU), tmp_path)


def test_a_folder_with_no_adapter_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no adapter_model.safetensors"):
        language_model.load_adapter(language_model.load(str(tiny_base), CPU), tmp_path)


@pytest.mark.parametrize("base", ["./not-there", "/not/there"])
def test_a_folder_that_is_not_there_is_named(base: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"no such folder|config.json"):
        language_model.load(base, CPU)


def test_weights_that_are_not_whole_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    """transformers would draw what is missing at random, and say so in a log."""
    folder = shutil.copytree(tiny_base, tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    lacking = {name: tensor for name, tensor in weights.items() if "layers.1.mlp" not in name}
    save_file(lacking, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=r"weights of 'half' lack 3 of its tensors.*layers\.1\.mlp.*at random"):
        language_model.load(str(folder), CPU)


def test_a_folder_with_pickled_weights_alone_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    for file in tiny_base.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        language_model.load(str(tmp_path), CPU)


def test_every_end_token_that_a_model_names_ends_a_reply(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    assert language_model.load(tmp_path / "base", torch.device("cpu")).end_ids == (2, 7)


def test_padding_never_ends_a_reply() -> None:
    class Tokenizer:
        pad_token_id, unk_token_id, bos_token_id = 2, None, 2

    assert language_model.pad_id(Tokenizer(), (2,)) == 0
    assert language_model.pad_id(Tokenizer(), (0, 2)) == 1
    Tokenizer.unk_token_id = 7  # type: ignore[assignment]
    assert language_model.pad_id(Tokenizer(), (2,)) == 7


def test_a_chat_template_is_used_where_there_is_one(tiny_base: Path) -> None:
    tokenizer: PreTrainedTokenizerFast = language_model.load_tokenizer(str(tiny_base))
    plain = language_model.encode_prompt(tokenizer, PROMPTS[1])
    assert tokenizer.decode(plain) == "\n\nHuman: Hello!\n\nAssistant:"
    tokenizer.chat_template = (
        "{% for m in messages %} {{ m['content'] }}{% endfor %}{% if add_generation_prompt %} yes{% endif %}"
    )
    assert tokenizer.decode(language_model.encode_prompt(tokenizer, PROMPTS[1])) == " Hello! yes"


def test_memory_that_runs_out_is_named() -> None:
    with pytest.raises(OutOfMemory, match="micro batch"), language_model.translate_oom():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="something else"), language_model.translate_oom():
        raise RuntimeError("something else")


def test_a_value_head_starts_at_zero_and_survives_its_file(tmp_path: Path) -> None:
    head = language_model.ValueHead(8)
    assert head(torch.randn(2, 3, 8)).tolist() == [[0.0] * 3] * 2
    torch.nn.init.normal_(head.linear.weight)
    head.save(tmp_path / "head.safetensors")
    again = language_model.ValueHead(8)
    again.load(tmp_path / "head.safetensors")
    assert torch.equal(again.linear.weight, head.linear.weight)
