"""Decoding token by token, and reading whole answers: the two must agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS
from training.dialogue import STOP_STRINGS
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.rollouts import Sampling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def language(tiny_base: Path) -> LanguageModel:
    return language_model.load(str(tiny_base), CPU)


def drawn(language: LanguageModel, prompts: list[Any], seed: int = 0, **sampling: Any) -> rollouts.Rollout:
    ids, mask = rollouts.pad_prompts(language, prompts, sampling.setdefault("max_new_tokens", 12))
    generator = torch.Generator().manual_seed(seed)
    return rollouts.generate(language, ids, mask, Sampling(**sampling), generator)


def test_prompts_are_padded_at_the_left(language: LanguageModel) -> None:
    ids, mask = rollouts.pad_prompts(language, PROMPTS[:2], 4)
    assert mask.tolist() == [[1] * 9, [0] * 5 + [1] * 4]
    assert language.tokenizer.decode(ids[1, 5:]) == "\n\nHuman: Hello!\n\nAssistant:"


def test_a_prompt_too_long_for_the_model_loses_its_oldest_tokens(language: LanguageModel) -> None:
    long = [{"role": "user", "content": "Hello! " * 200 + "Hello!"}]
    ids, _ = rollouts.pad_prompts(language, [long], max_new_tokens=28)
    assert ids.shape == (1, 100)
    assert language.tokenizer.decode(ids[0]).endswith("Hello!\n\nAssistant:")


def test_cached_decoding_agrees_with_reading_the_whole(language: LanguageModel) -> None:
    """The likeliest tokens, found with the cache, are the likeliest ones when everything is read at once."""
    rollout = drawn(language, PROMPTS, temperature=1e-4)
    tokens = torch.cat([rollout.prompts, rollout.responses], dim=1)
    attention = torch.cat([rollout.prompt_mask, rollout.mask.long()], dim=1)
    with torch.no_grad():
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        logits = language.model(input_ids=tokens, attention_mask=attention, position_ids=positions).logits
    best = logits[:, rollout.prompts.shape[1] - 1 : -1].argmax(-1)
    assert torch.equal(best[rollout.mask.bool()], rollout.responses[rollout.mask.bool()])
    read = rollouts.forward_responses(language, rollout)
    assert torch.allclose(read.logprobs.exp().amax(), torch.tensor(1.0), atol=1)


def test_an_answer_does_not_depend_on_its_neighbours_padding(language: LanguageModel) -> None:
    together = rollouts.texts(language, drawn(language, PROMPTS, temperature=1e-4))
    alone = [rollouts.texts(language, drawn(language, [prompt], temperature=1e-4))[0] for prompt in PROMPTS]
    assert together == alone


def test_log_probabilities_do_not_depend_on_padding(language: LanguageModel) -> None:
    rollout = drawn(language, PROMPTS)
    with torch.no_grad():
        batched = rollouts.forward_responses(language, rollout)
        for row in range(len(PROMPTS)):
            part = rollouts.select(rollout, torch.tensor([row]))
            piece = rollouts.forward_responses(language, part)
            length = int(part.mask.sum())
            assert torch.allclose(piece.logprobs[0, :length], batched.logprobs[row, :length], atol=1e-4)


def test_a_row_ends_with_its_end_token_and_nothing_counts_after_it(language: LanguageModel) -> None:
    rollout = drawn(language, PROMPTS * 12, max_new_tokens=40, temperature=2.0)
    eos = language.tokenizer.eos_token_id
    ends = {eos, *language.tokenizer.convert_tokens_to_ids(["\n\nHuman:", "\n\nAssistant:"])}
    assert bool(rollout.ended.any())
    for response, mask, ended in zip(rollout.responses, rollout.mask, rollout.ended, strict=True):
        length = int(mask.sum())
        assert mask[:length].all() and not mask[length:].any()
        assert (int(response[length - 1]) in ends) == bool(ended)
        assert ends.isdisjoint(response[: length - 1].tolist())
        assert (response[length:] == language.pad_id).all()


def test_a_reply_that_speaks_for_the_human_is_over(language: LanguageModel) -> None:
    class SaysHuman:
        """A model that wants one token sequence whatever it reads: " Hello", "!", the marker, " Hello" ..."""

        generated = 0
        config, forward = language.model.config, language.model.forward

        def __call__(self, **_: Any) -> Any:
            text = ["Hello", "!", "\n\nHuman:", "Hello"][min(self.generated, 3)]
            self.generated += 1
            logits = torch.full((1, 1, len(language.tokenizer)), -100.0)
            logits[..., language.tokenizer.convert_tokens_to_ids(text)] = 100.0
            return type("Out", (), {"logits": logits})

    from dataclasses import replace

    rollout = drawn(replace(language, model=SaysHuman()), [PROMPTS[1]])
    assert rollout.ended.tolist() == [True]
    assert rollout.responses.shape == (1, 3)
    assert rollouts.texts(language, rollout) == ["Hello!"]


@pytest.mark.parametrize("stop", STOP_STRINGS)
@pytest.mark.parametrize("before", ["", "A rather long answer: it has its own colon"])
def test_a_stop_string_is_found_though_every_letter_is_a_token(stop: str, before: str) -> None:
    class Letters:
        """A tokenizer whose tokens are the letters of ASCII."""

        def get_vocab(self) -> dict[str, int]:
            return {chr(number): number for number in range(128)}

        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids))

    text = before + stop
    stops = rollouts._StopStrings(Letters(), 1, len(text), CPU)
    hits = [bool(stops.hit(torch.tensor([0]), torch.tensor([ord(letter)]), step)) for step, letter in enumerate(text)]
    assert hits == [False] * (len(text) - 1) + [True]


def test_the_same_seed_gives_the_same_answers(language: LanguageModel) -> None:
    assert torch.equal(drawn(language, PROMPTS, 3).responses, drawn(language, PROMPTS, 3).responses)
    three, four = drawn(language, PROMPTS, 3), drawn(language, PROMPTS, 4)
    assert rollouts.texts(language, three) != rollouts.texts(language, four)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2, 0.0]).log().expand(20_000, 4)
    counts = rollouts.draw(logits, Sampling(1), torch.Generator().manual_seed(0)).tokens.bincount(minlength=4) / 20_000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.015)
    assert counts[3] == 0


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 3.0, 0.2], [5.0, 1.0, 4.9]])
    assert rollouts.draw(logits, Sampling(1, 0.0), torch.Generator()).tokens.tolist() == [1, 0]


def test_decoding_draws_what_transformers_generate_takes(language: LanguageModel) -> None:
    """Rows that end leave the batch on the way; those that go on must not notice."""
    ids, mask = rollouts.pad_prompts(language, PROMPTS * 3, 30)
    ours = rollouts.generate(language, ids, mask, Sampling(30, 0.0), torch.Generator())
    theirs = language.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=30, do_sample=False,
                                     pad_token_id=language.pad_id, eos_token_id=list(language.end_ids))
    for row, response in enumerate(ours.responses):
        length = int(ours.mask[row].sum())
        assert response[:length].tolist() == theirs[row, ids.shape[1] : ids.shape[1] + length].tolist()


def test_a_temperature_sharpens_and_top_p_cuts_the_tail() -> None:
    def shares(tokens: torch.Tensor) -> torch.Tensor:
        return tokens.bincount(minlength=3) / len(tokens)

    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(20_000, 3)
    sharp = shares(rollouts.draw(logits, Sampling(1, 0.5), torch.Generator().manual_seed(0)).tokens)
    # Squares of 0.2, 0.5, 0.3 over their sum 0.38.
    assert sharp.tolist() == pytest.approx([0.04 / 0.38, 0.25 / 0.38, 0.09 / 0.38], abs=0.015)
    cut = shares(rollouts.draw(logits, Sampling(1, 1.0, 0.7), torch.Generator().manual_seed(0)).tokens)
    assert cut.tolist() == pytest.approx([0.0, 0.625, 0.375], abs=0.015)


def test_the_values_are_of_the_state_before_each_token(language: LanguageModel) -> None:
    head = language_model.ValueHead(32)
    torch.nn.init.normal_(head.linear.weight)
    rollout = drawn(language, PROMPTS)
    with torch.no_grad():
        values = rollouts.forward_responses(language, rollout, value_head=head).values
        changed = rollout._replace(responses=rollout.responses.clone())
        changed.responses[:, 3:] = 5
        assert torch.allclose(rollouts.forward_responses(language, changed, value_head=head).values[:, :4],
                              values[:, :4], atol=1e-5)  # fmt: skip
    assert values.shape == rollout.mask.shape
