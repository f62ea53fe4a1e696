"""Many people chat at once: each hears what they would hear alone, whoever comes, goes or fails meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS, make_base
from training.config import Lora
from training.errors import BadData, ModelUnavailable, OutOfMemory
from training.models import chat_batch, language_model, mixed_lora
from training.models.chat import ChatPolicy
from training.models.chat_batch import ChatBatch, Reply
from training.models.mixed_lora import Soup
from training.models.policy_mix import Weighted, mix_policies
from training.models.rollouts import Sampling
from training.models.shared_cache import SharedCache

CPU = torch.device("cpu")
LONG = [{"role": "user", "content": "Who is the keeper of Brisk? " * 9}]


@pytest.fixture
def adapters(tiny_base: Path, tmp_path: Path) -> list[Path]:
    """Folders of two adapters of different ranks that say other things than the base and than each other."""
    for number, rank in ((1, 4), (2, 6)):
        torch.manual_seed(number)
        language = language_model.add_adapter(language_model.load(str(tiny_base), CPU), Lora(r=rank))
        for parameter in language_model.trainable_parameters(language):
            torch.nn.init.normal_(parameter, std=0.3)
        language_model.save_adapter(language, tmp_path / str(number))
    return [tmp_path / "1", tmp_path / "2"]


@pytest.fixture
def batch(tiny_base: Path) -> ChatBatch:
    return ChatBatch(language_model.load(str(tiny_base), CPU))


def finish(batch: ChatBatch) -> None:
    for _ in range(500):
        if batch.is_idle:
            return
        batch.advance()
    raise AssertionError("the batch does not end")


def alone(base: Path, dialogue: Any, adapter: Path | None, sampling: Sampling, seed: int) -> str:
    """What one person hears from the plain chat, which knows no batch."""
    policy = ChatPolicy.load(str(base), adapter=adapter, device="cpu")
    return "".join(policy.stream(dialogue, sampling.temperature, sampling.top_p, sampling.max_new_tokens, seed))


def test_everyone_hears_what_they_would_hear_alone(
    tiny_base: Path, adapters: list[Path], batch: ChatBatch, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve people with three policies, prompts of all lengths and each with a sampling of their own come and go."""
    monkeypatch.setattr(batch, "_chunk", 16)  # the long prompts are read in several parts
    asked = []
    for number in range(12):
        dialogue = LONG if number % 5 == 2 else PROMPTS[number % len(PROMPTS)]
        sampling = Sampling(4 + 5 * (number % 4), (1.0, 0.7, 0.0)[number % 3], (1.0, 0.9)[number % 2])
        asked.append((dialogue, [None, *adapters][number % 3], sampling, number))
    replies = []
    for number, each in enumerate(asked):
        replies.append(batch.put(*each))
        for _ in range(number % 3):
            batch.advance()
    finish(batch)
    assert [reply.take() for reply in replies] == [alone(tiny_base, *each) for each in asked]


def test_a_row_that_is_stopped_leaves_before_the_next_step_and_the_others_go_on(
    tiny_base: Path, batch: ChatBatch,
) -> None:
    seeds = (4, 7, 13)  # long replies
    replies = [batch.put(PROMPTS[0], None, Sampling(40), seed) for seed in seeds]
    for _ in range(4):
        batch.advance()
    drawn = replies[0].tokens
    replies[0].stop()
    finish(batch)
    assert [replies[0].tokens, replies[1].tokens] == [drawn, 40] != [40, 40]
    for seed, reply in zip(seeds[1:], replies[1:], strict=True):
        assert reply.take() == alone(tiny_base, PROMPTS[0], None, Sampling(40), seed)


def test_the_first_token_comes_while_a_long_prompt_is_still_read(
    batch: ChatBatch, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "_chunk", 8)
    running = batch.put(PROMPTS[0], None, Sampling(40), 4)
    batch.advance()
    long = batch.put(LONG, None, Sampling(5))
    before = running.tokens
    for _ in range(3):
        batch.advance()
    assert (running.tokens - before, long.tokens) == (3, 0)
    finish(batch)
    assert long.tokens > 0


def test_one_is_told_at_the_first_token_and_at_the_end(batch: ChatBatch) -> None:
    calls: list[int] = []
    reply = batch.put(PROMPTS[0], None, Sampling(20), 3, lambda: calls.append(reply.tokens))
    finish(batch)
    assert calls == [1, reply.tokens]
    assert reply.ended


def test_layers_with_several_adapters_are_exact(tiny_base: Path, adapters: list[Path]) -> None:
    """Logits of a pass with three policies against those of each one's own, by peft."""
    tokens = torch.tensor([[5, 9, 11, 20], [7, 7, 30, 12], [9, 5, 8, 31]])
    mixed = mixed_lora.MixedLora(language_model.load(str(tiny_base), CPU))
    for adapter in adapters:
        mixed.load(adapter)
    policies = [adapters[1], None, adapters[0]]
    mixed.gather(policies)
    mixed.use(policies)
    with torch.no_grad():
        logits = mixed.language.model(input_ids=tokens).logits
        for row, adapter in enumerate(policies):
            plain = language_model.load(str(tiny_base), CPU)
            if adapter is not None:
                plain = language_model.load_adapter(plain, adapter)
            torch.testing.assert_close(logits[row], plain.model(input_ids=tokens[row:row + 1]).logits[0],
                                       atol=1e-4, rtol=0)


def test_a_soup_says_what_the_mixed_adapter_would_say(
    tiny_base: Path, adapters: list[Path], batch: ChatBatch, tmp_path: Path,
) -> None:
    """Beside rows of other policies and other weights of the same adapters."""
    soups = [Soup(((adapters[0], 0.25), (adapters[1], 0.75))), Soup(((adapters[0], -0.5), (adapters[1], 1.5)))]
    for number, soup in enumerate(soups):
        mix_policies([Weighted(*part) for part in soup.parts], tmp_path / f"mix{number}")
    replies = [batch.put(PROMPTS[0], policy, Sampling(12), 5) for policy in (*soups, adapters[0], None)]
    finish(batch)
    assert [reply.take() for reply in replies] == [
        alone(tiny_base, PROMPTS[0], policy, Sampling(12), 5)
        for policy in (tmp_path / "mix0", tmp_path / "mix1", adapters[0], None)]


def test_logits_of_a_soup_are_those_of_the_summed_weights(
    tiny_base: Path, adapters: list[Path], tmp_path: Path,
) -> None:
    tokens = torch.tensor([[5, 9, 11, 20]])
    soup = Soup(((adapters[0], 0.3), (adapters[1], 0.7)))
    mix_policies([Weighted(*part) for part in soup.parts], tmp_path / "mix")
    mixed = mixed_lora.MixedLora(language_model.load(str(tiny_base), CPU))
    mixed.load(soup)
    mixed.gather([soup])
    mixed.use([soup])
    with torch.no_grad():
        of_soup = mixed.language.model(input_ids=tokens).logits
        adapter = language_model.load_adapter(language_model.load(str(tiny_base), CPU), tmp_path / "mix")
        with language_model.merged(adapter):
            torch.testing.assert_close(of_soup, adapter.model(input_ids=tokens).logits, atol=1e-4, rtol=0)


def test_an_adapter_named_twice_counts_with_the_sum_of_its_weights(tiny_base: Path, adapters: list[Path]) -> None:
    twice = Soup(((adapters[0], 0.4), (adapters[0], 0.6)))
    assert mixed_lora.weights_of(twice) == {adapters[0]: pytest.approx(1.0)}
    assert mixed_lora.weights_of(None) == {} and mixed_lora.weights_of(adapters[1]) == {adapters[1]: 1.0}


def test_a_soup_is_there_once_all_of_its_adapters_are(
    tiny_base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mixed_lora, "MOST_ADAPTERS", 1)
    mixed = mixed_lora.MixedLora(language_model.load(str(tiny_base), CPU))
    soup = Soup(((adapters[0], 0.5), (adapters[1], 0.5)))
    mixed.load(adapters[0])
    assert soup not in mixed and None in mixed
    mixed.load(soup)  # its own adapters do not make room for each other
    assert soup in mixed and adapters[0] in mixed


def test_the_oldest_adapter_that_nobody_uses_makes_room(
    tiny_base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch, batch: ChatBatch,
) -> None:
    monkeypatch.setattr(mixed_lora, "MOST_ADAPTERS", 1)
    for adapter in (adapters[0], adapters[1], adapters[0]):
        reply = batch.put(PROMPTS[0], adapter, Sampling(12), 5)
        finish(batch)
        assert reply.take() == alone(tiny_base, PROMPTS[0], adapter, Sampling(12), 5)
    both = [batch.put(PROMPTS[0], adapter, Sampling(12), 5) for adapter in adapters]
    finish(batch)  # both are in use: neither goes
    assert [reply.take() for reply in both] == [alone(tiny_base, PROMPTS[0], each, Sampling(12), 5)
                                               for each in adapters]


# What fails for one, fails for one --------------------------------------------------------------------------------


def test_an_adapter_that_cannot_be_loaded_is_its_own_chats_error(
    tiny_base: Path, adapters: list[Path], batch: ChatBatch, tmp_path: Path,
) -> None:
    language = language_model.add_adapter(language_model.load("demo-world", CPU), Lora(r=2))
    language_model.save_adapter(language, tmp_path / "of another base")
    running = batch.put(PROMPTS[0], adapters[0], Sampling(20), 1)
    batch.advance()
    foreign = batch.put(PROMPTS[1], tmp_path / "of another base", Sampling(20), 2)
    lost = batch.put(PROMPTS[1], tmp_path / "nowhere", Sampling(20), 2)
    later = batch.put(PROMPTS[2], adapters[1], Sampling(20), 3)
    finish(batch)
    for reply in (foreign, lost):
        with pytest.raises(ModelUnavailable):
            reply.take()
    assert running.take() == alone(tiny_base, PROMPTS[0], adapters[0], Sampling(20), 1)
    assert later.take() == alone(tiny_base, PROMPTS[2], adapters[1], Sampling(20), 3)


def test_a_dialogue_that_the_template_refuses_never_comes_into_the_batch(batch: ChatBatch) -> None:
    batch._lora.language.tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(BadData):
        batch.put(PROMPTS[0], None, Sampling(5))
    assert batch.is_idle


def test_where_there_is_no_memory_for_one_more_the_others_go_on(
    tiny_base: Path, batch: ChatBatch, monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = batch.put(PROMPTS[0], None, Sampling(20), 1)
    batch.advance()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as no_memory:
        no_memory.setattr(SharedCache, "_make_room", full)
        refused = batch.put(PROMPTS[1], None, Sampling(20), 2)
        batch.advance()
    with pytest.raises(OutOfMemory):
        refused.take()
    finish(batch)
    assert running.take() == alone(tiny_base, PROMPTS[0], None, Sampling(20), 1)


def test_a_step_that_runs_out_of_memory_gives_up_the_one_who_came_last(
    tiny_base: Path, batch: ChatBatch, monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, last = (batch.put(PROMPTS[0], None, Sampling(20), seed) for seed in (1, 2))
    batch.advance()
    model = batch._lora.language.model
    forward = model.forward

    def too_large(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    monkeypatch.setattr(model, "forward", too_large)
    finish(batch)
    with pytest.raises(OutOfMemory):
        last.take()
    assert first.take() == alone(tiny_base, PROMPTS[0], None, Sampling(20), 1)


def test_a_failure_of_the_whole_batch_is_heard_by_all_and_the_next_chat_starts_anew(batch: ChatBatch) -> None:
    replies = [batch.put(PROMPTS[0], None, Sampling(20), seed) for seed in (1, 2)]
    batch.advance()
    batch.fail(RuntimeError("broken"))
    assert batch.is_idle
    for reply in replies:
        with pytest.raises(RuntimeError, match="broken"):
            reply.take()
    after = batch.put(PROMPTS[0], None, Sampling(20), 1)
    finish(batch)
    assert after.ended
    assert after.take()


# Families and devices ---------------------------------------------------------------------------------------------


def test_a_family_that_is_not_exact_in_a_batch_is_drawn_row_by_row(
    tiny_base: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_batch, "measure", lambda language: (0.0, 3.0))
    batch = ChatBatch(language_model.load(str(tiny_base), CPU))
    rows: list[int] = []
    model = batch._lora.language.model
    model.register_forward_pre_hook(lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True)
    asked = [(PROMPTS[number], [None, *adapters][number], Sampling(15), number) for number in range(3)]
    replies: list[Reply] = [batch.put(*each) for each in asked]
    finish(batch)
    assert set(rows) == {1}
    assert [reply.take() for reply in replies] == [alone(tiny_base, *each) for each in asked]


def test_a_model_that_is_loaded_in_bf16_meanwhile_changes_nobodys_words(
    tiny_base: Path, adapters: list[Path], batch: ChatBatch,
) -> None:
    """While transformers makes a bf16 model, bf16 is the default of the whole process."""
    replies = [batch.put(PROMPTS[0], adapter, Sampling(20), 1) for adapter in (None, adapters[0])]
    batch.advance()
    torch.set_default_dtype(torch.bfloat16)
    try:
        finish(batch)
    finally:
        torch.set_default_dtype(torch.float32)
    assert [reply.take() for reply in replies] == [alone(tiny_base, PROMPTS[0], adapter, Sampling(20), 1)
                                                   for adapter in (None, adapters[0])]


def test_a_sliding_window_slides_in_the_batch_too(tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = make_base(tmp_path / "base")
    config = AutoConfig.for_model("mistral", **{
        key: value for key, value in AutoConfig.from_pretrained(folder).to_dict().items()
        if key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                   "max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "initializer_range")},
        num_key_value_heads=2, sliding_window=8)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    batch = ChatBatch(language_model.load(str(folder), CPU))
    asked = [(dialogue, None, Sampling(25), seed) for seed, dialogue in enumerate((LONG, PROMPTS[1], PROMPTS[0]))]
    replies = []
    for each in asked:
        replies.append(batch.put(*each))
        batch.advance()
    finish(batch)
    assert [reply.take() for reply in replies] == [alone(folder, *each) for each in asked]
