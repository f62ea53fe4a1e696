"""MOD: several policies decide each token together, by the weighted product of their probabilities."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.lora_folders import CPU, make_lora, with_adapter
from tests.training.tiny_models import PROMPTS
from training.errors import BadSettings
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.mixed_lora import MixedLora, Policy
from training.models.probability_mix import generate_mixed, mixed_logprobs
from training.models.rollouts import Rollout, Sampling

LONG = Sampling(12)
GREEDY = Sampling(12, temperature=0)


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("loras")
    return [make_lora(folder / f"lora{number}", tiny_base, number, r=rank, lora_alpha=32)
            for number, rank in enumerate((4, 6))]


@pytest.fixture
def mixed(tiny_base: Path) -> MixedLora:
    return MixedLora(language_model.load(str(tiny_base), CPU))


def answers(mixed: MixedLora, policies: list[Policy], weights: list[float], sampling: Sampling = LONG,
            seed: int = 0) -> Rollout:
    return generate_mixed(mixed, policies, weights, PROMPTS, sampling, torch.Generator().manual_seed(seed))


def alone(language: LanguageModel, sampling: Sampling = LONG, seed: int = 0) -> Rollout:
    ids, mask = rollouts.pad_prompts(language, PROMPTS, sampling.max_new_tokens)
    return rollouts.generate(language, ids, mask, sampling, torch.Generator().manual_seed(seed))


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).log()


def test_a_mix_by_hand() -> None:
    """Halves of (0.8, 0.2) and (0.2, 0.8) are even; 3/4 and 1/4 are sqrt(0.8/0.2) = 2 to 1."""
    policies = logs([0.8, 0.2], [0.2, 0.8])
    assert mixed_logprobs(policies, [0.5, 0.5]).exp().tolist() == pytest.approx([1 / 2, 1 / 2])
    assert mixed_logprobs(policies, [0.75, 0.25]).exp().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert mixed_logprobs(policies, [2, -1]).exp().tolist() == pytest.approx([64 / 65, 1 / 65])  # beyond the first: 4^3
    assert mixed_logprobs(policies, [1, 1]).exp().tolist() == pytest.approx([1 / 2, 1 / 2])
    assert mixed_logprobs(logs([0.8, 0.2]), [0.5]).exp().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_policy_without_weight_has_no_say_about_what_it_finds_impossible() -> None:
    policies = logs([0.6, 0.4, 0.0], [0.0, 0.5, 0.5])
    assert mixed_logprobs(policies, [1, 0]).exp().tolist() == pytest.approx([0.6, 0.4, 0])
    assert mixed_logprobs(policies, [0.5, 0.5]).exp().tolist() == pytest.approx([0, 1, 0])


@given(st.lists(st.lists(st.floats(-20, 20), min_size=4, max_size=4), min_size=3, max_size=3),
       st.tuples(*[st.floats(-2, 2)] * 3).filter(any), st.permutations(range(3)))
def test_it_is_a_distribution_whatever_the_order_of_the_policies(
    values: list[list[float]], weights: tuple[float, ...], order: list[int],
) -> None:
    logprobs = torch.log_softmax(torch.tensor(values, dtype=torch.float64), dim=-1)
    mix = mixed_logprobs(logprobs, weights)
    assert float(mix.exp().sum()) == pytest.approx(1)
    assert torch.allclose(mixed_logprobs(logprobs[order], [weights[i] for i in order]), mix, atol=1e-9)


@pytest.mark.parametrize("sampling", [LONG, GREEDY, Sampling(12, temperature=0.7, top_p=0.9)])
def test_all_the_weight_on_one_policy_gives_its_tokens(
    tiny_base: Path, loras: list[Path], mixed: MixedLora, sampling: Sampling,
) -> None:
    others = []
    for number, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        expected = alone(with_adapter(tiny_base, loras[number]), sampling)
        assert torch.equal(answers(mixed, [*loras], weights, sampling).responses, expected.responses)
        others.append(expected)
    base = alone(language_model.load(str(tiny_base), CPU), sampling)
    assert torch.equal(answers(mixed, [loras[0], None], [0, 1], sampling).responses, base.responses)
    assert not torch.equal(others[0].responses, others[1].responses)


def test_halves_of_one_policy_are_that_policy(tiny_base: Path, loras: list[Path], mixed: MixedLora) -> None:
    """Two copies of each row, which come to their ends and are dropped together."""
    expected = alone(with_adapter(tiny_base, loras[0]), Sampling(40))
    assert expected.ended.any() and len(set(expected.mask.sum(dim=1).tolist())) > 2
    both = answers(mixed, [loras[0], loras[0]], [0.5, 0.5], Sampling(40))
    assert torch.equal(both.responses, expected.responses) and torch.equal(both.ended, expected.ended)


def test_each_token_is_drawn_from_the_product_of_what_the_policies_say(
    tiny_base: Path, loras: list[Path], mixed: MixedLora,
) -> None:
    """The log-probabilities of the drawn tokens are those that the two policies, each loaded alone, are mixed to."""
    weights = [0.3, 0.7]
    drawn = answers(mixed, [*loras], weights, Sampling(20))
    assert drawn.logprobs is not None and not torch.equal(drawn.responses, alone(
        with_adapter(tiny_base, loras[1]), Sampling(20)).responses)
    tokens = torch.cat([drawn.prompts, drawn.responses[:, :-1]], dim=1)
    attention = torch.cat([drawn.prompt_mask, drawn.mask[:, :-1].long()], dim=1)
    each = []
    for folder in loras:
        with torch.no_grad():
            output = with_adapter(tiny_base, folder).model(
                input_ids=tokens, attention_mask=attention, position_ids=(attention.cumsum(1) - 1).clamp(min=0),
                logits_to_keep=drawn.responses.shape[1])
        each.append(torch.log_softmax(output.logits, dim=-1))
    product = each[0] * 0.3 + each[1] * 0.7
    expected = product - product.logsumexp(dim=-1, keepdim=True)
    of_drawn = expected.gather(2, drawn.responses.unsqueeze(-1)).squeeze(-1) * drawn.mask
    assert (drawn.logprobs - of_drawn).abs().max() < 1e-4


def test_the_base_is_as_it_was_afterwards(tiny_base: Path, loras: list[Path], mixed: MixedLora) -> None:
    answers(mixed, [*loras], [0.5, 0.5])
    expected = alone(language_model.load(str(tiny_base), CPU))
    assert torch.equal(alone(mixed.language).responses, expected.responses)


@pytest.mark.parametrize(("weights", "said"), [
    ([0.0, 0.0], "Every policy has the weight 0"), ([1.0, math.nan], "A policy's weight is nan"),
    ([math.inf, 1.0], "A policy's weight is inf"), ([1.0], "There are 1 weights for 2 policies"),
    ([], "There are 0 weights for 2 policies"),
])
def test_weights_that_say_nothing_are_refused(loras: list[Path], mixed: MixedLora, weights: list[float],
                                              said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        answers(mixed, [*loras], weights)
    with pytest.raises(BadSettings, match=said):
        mixed_logprobs(torch.zeros(2, 3), weights)


def test_experts_are_refused(loras: list[Path], mixed: MixedLora) -> None:
    mixed.language.model.experts = torch.nn.ModuleList([torch.nn.Linear(2, 2)])  # one module for each expert
    with pytest.raises(BadSettings, match=r"is a mixture of experts.*python -m training mix"):
        answers(mixed, [*loras], [0.5, 0.5])
