"""Decoding with a cache of fixed size gives the answers of plain decoding; on a GPU its steps are one CUDA graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.training.tiny_families import ROWS, TOKENIZER, make_family
from training.config import Lora
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.static_decoder import CAPACITY_STEP, FAMILIES, StaticDecoder, can_decode_static, static_decoder

PROMPTS = [[{"role": "user", "content": text}]
           for text in ("Is one odd?", "Say something longer about two, please.", "3?")]


def tiny(model_type: str, folder: Path) -> LanguageModel:
    """A random model of a family that decodes with a static cache."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": ROWS, "sliding_window": None,
             "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    if model_type == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": ROWS, "bos_token_id": None,
                 "eos_token_id": 1}
    if model_type in {"gpt_neox", "phi"}:
        del sizes["num_key_value_heads"]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return language_model.load(folder, torch.device("cpu"))


def likeliest(logits: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A draw without chance."""
    return logits.argmax(dim=-1), torch.zeros(len(logits))


Endless = Callable[[LanguageModel], LanguageModel]


def both_ways(policy: LanguageModel, sampling: rollouts.Sampling, seed: int = 5) -> tuple[rollouts.Rollout, ...]:
    ids, mask = rollouts.pad_prompts(policy, PROMPTS, sampling.max_new_tokens)
    return tuple(way(policy, ids, mask, sampling, torch.Generator().manual_seed(seed))
                 for way in (rollouts.generate, rollouts.generate_static))


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Endless:
    """A policy without end tokens and stop strings: no row leaves its batch, so that both draw the same numbers."""
    monkeypatch.setattr(rollouts, "STOP_STRINGS", ())
    return lambda policy: LanguageModel(**{**vars(policy), "end_ids": ()})


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("sampling", [rollouts.Sampling(20, 0.0), rollouts.Sampling(20, 1.0),
                                      rollouts.Sampling(20, 0.7, 0.9)])
def test_the_answers_are_those_of_plain_decoding(
        endless: Endless, family: str, sampling: rollouts.Sampling, tmp_path: Path) -> None:
    policy = endless(tiny(family, tmp_path))
    assert can_decode_static(policy.model)
    plain, static = both_ways(policy, sampling)
    assert plain.responses.tolist() == static.responses.tolist()
    assert torch.equal(plain.mask, static.mask) and not static.ended.any()


def test_ends_are_found_where_plain_decoding_finds_them(tiny_base: Path) -> None:
    """The most likely tokens, so that rows which leave the batch change no random number."""
    policy = language_model.load(tiny_base, torch.device("cpu"))
    longest = rollouts.Sampling(40, 0.0)
    plain, _ = both_ways(policy, longest)
    ends = tuple({int(row[place]) for row, place in zip(plain.responses, (2, 6, 9), strict=True)})
    plain, static = both_ways(LanguageModel(**{**vars(policy), "end_ids": ends}), longest)
    assert plain.ended.all() and torch.equal(plain.ended, static.ended)
    assert torch.equal(plain.mask, static.mask) and len(set(plain.mask.sum(dim=1).tolist())) > 1
    assert torch.equal(plain.responses, static.responses), "padding too"


def test_a_reply_that_speaks_for_the_human_ends_there(tiny_base: Path) -> None:
    policy = language_model.load(tiny_base, torch.device("cpu"))
    tokens = policy.tokenizer("Hello.\n\nHuman: What", add_special_tokens=False)["input_ids"]
    ends = rollouts._Ends(policy, 1, len(tokens))
    assert ends.all_ended(torch.tensor([tokens]))
    assert policy.tokenizer.decode(tokens[:int(ends.lengths[0])]) == "Hello.\n\nHuman:"


def test_a_merged_adapter_is_decoded_and_the_base_is_itself_again(endless: Endless, tiny_base: Path) -> None:
    torch.manual_seed(3)
    policy = language_model.add_adapter(language_model.load(tiny_base, torch.device("cpu")), Lora(r=4))
    for parameter in language_model.trainable_parameters(policy):
        torch.nn.init.normal_(parameter, std=0.5)
    weights = [layer.get_base_layer().weight for layer in language_model.lora_layers(policy)]
    before, places = [weight.clone() for weight in weights], [weight.data_ptr() for weight in weights]
    with language_model.merged(policy):
        assert not torch.equal(weights[0], before[0])
        plain, static = both_ways(endless(policy), rollouts.Sampling(12, 0.0))
    assert plain.responses.tolist() == static.responses.tolist()
    with language_model.reference(policy):
        base, _ = both_ways(endless(policy), rollouts.Sampling(12, 0.0))
    assert base.responses.tolist() != static.responses.tolist()
    assert all(map(torch.equal, weights, before)) and places == [weight.data_ptr() for weight in weights]


def test_a_second_batch_does_not_see_the_first(endless: Endless, tiny_base: Path) -> None:
    policy = endless(language_model.load(tiny_base, torch.device("cpu")))
    greedy = rollouts.Sampling(10, 0.0)
    decoder = static_decoder(policy.model, 3, 40, likeliest, greedy)
    assert decoder.capacity == CAPACITY_STEP
    answers = []
    for order in (PROMPTS, PROMPTS[::-1], PROMPTS):
        ids, mask = rollouts.pad_prompts(policy, order, 10)
        decoder.start(ids, mask, torch.zeros(10, 3))
        for _ in range(9):
            decoder.advance()
        answers.append(decoder.drawn(10).tolist())
    assert answers[0] == answers[2] == answers[1][::-1]


@pytest.mark.parametrize("family", ["mistral", "mamba", "opt"])
def test_windows_states_and_untested_families_are_decoded_plainly(family: str, tmp_path: Path) -> None:
    policy = language_model.load(make_family(family, tmp_path), torch.device("cpu"))
    assert not can_decode_static(policy.model)


@pytest.mark.parametrize("vocabulary", [7, 1024, 5000])
def test_a_token_found_by_blocks_is_the_one_found_by_cumulating_all(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    probabilities = torch.rand(500, vocabulary, generator=generator).pow(8)
    probabilities[:, ::3] = 0
    probabilities /= probabilities.sum(dim=-1, keepdim=True)
    uniform = torch.rand(500, 1, generator=generator)
    uniform[:2] = torch.tensor([[0.0], [1 - 2**-24]])
    blocks = rollouts.token_in_blocks(probabilities, uniform)
    cumulated = probabilities.double().cumsum(dim=-1)
    exact = torch.searchsorted(cumulated, uniform.double() * cumulated[:, -1:] * (1 - 1e-6), right=True).squeeze(1)
    assert (blocks == exact).float().mean() > 0.99, "but for numbers that fall next to a boundary"
    assert (probabilities.gather(1, blocks.unsqueeze(1)) > 0).all(), "never a token of probability 0"


def test_a_decoder_is_used_again_only_for_the_same_shape_sampling_and_weights(
        tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.static_decoder._is_worth_keeping", lambda *_: True)
    policy = language_model.add_adapter(language_model.load(tiny_base, torch.device("cpu")), Lora(r=4))

    def decoder(rows: int = 3, tokens: int = 40, temperature: float = 1.0) -> StaticDecoder:
        sampling = rollouts.Sampling(8, temperature)
        return static_decoder(policy.model, rows, tokens, likeliest, sampling)

    with language_model.merged(policy):
        first = decoder()
        assert decoder() is first and decoder(tokens=CAPACITY_STEP) is first
        assert decoder(rows=4) is not first
        first = decoder()
        assert decoder(temperature=0.5) is not first
        first = decoder()
    with language_model.reference(policy):
        assert decoder() is first, "a layer is one product, whether its adapter is merged or off"
    assert decoder() is not first, "beside its base an adapter is computed by kernels of its own"
    first = decoder()
    weight = next(policy.model.parameters())
    weight.data = weight.data.clone()
    assert decoder() is not first


def test_a_kept_decoder_goes_with_its_model(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.models.static_decoder._is_worth_keeping", lambda *_: True)
    policy = language_model.load(tiny_base, torch.device("cpu"))
    gone = weakref.ref(static_decoder(policy.model, 1, 8, likeliest, None))
    assert gone() is not None
    del policy
    gc.collect()
    assert gone() is None
