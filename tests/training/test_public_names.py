"""What `import training` promises: names, parameters and defaults. A change here is one that users notice."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import training
from tests.processes import ROOT
from training import api

SIGNATURES = {
    "advantages_and_returns": "rewards, values, mask, gamma, lam",
    "check_recipe": "value",
    "contributions": "scores, weights, settings, limits=None",
    "generate": "policy, prompts, max_new_tokens=64, temperature=1.0, top_p=1.0, seed=0",
    "identities": "stages, file_digests, corrections=None",
    "kl_k1": "logprobs, reference",
    "kl_k3": "logprobs, reference",
    "load_policy": "base, adapter=None, device='auto', precision='fp32'",
    "next_kl_coefficient": "coefficient, kl, target, samples, horizon",
    "parse_recipe": "text",
    "plan": "recipe",
    "policy_loss": "logprobs, old_logprobs, advantages, mask, clip",
    "run_recipe": "recipe, out, only=None, fork=True, tell=<built-in function print>, "
                  "tell_error=<built-in function print>",
    "scalarize": "scores, weights, settings, limits=None",
    "score": "folders, prompts, responses, device='cpu', precision='fp32', batch_size=64",
    "shipped_recipe": "name",
    "token_rewards": "rewards, log_ratio, mask, kl_coefficient",
    "token_statistics": "logits, tokens, temperature=1.0",
    "value_loss": "values, old_values, returns, mask, clip",
}
TYPES = {"Dialogue", "LanguageModel", "PreferenceModels", "PrincipleRewards", "Recipe", "Rewards", "Scalarization"}


def parameters(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return ", ".join(map(str, bare))


def test_the_names_are_these_and_no_others() -> None:
    assert training.__all__ == api.__all__ == sorted(training.__all__)
    assert set(training.__all__) == set(SIGNATURES) | TYPES
    assert all(getattr(training, name) is getattr(api, name) for name in training.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'rollout'"):
        training.rollout  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_parameters_of(name: str) -> None:
    assert parameters(getattr(training, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", training.__all__)
def test_every_name_says_what_it_is_for(name: str) -> None:
    assert name == "Dialogue" or inspect.getdoc(getattr(api, name))


def test_a_policy_is_loaded_answers_and_is_scored_in_four_lines(
        tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    policy = training.load_policy(tiny_base, device="cpu")
    prompts = [[{"role": "user", "content": text}] for text in ("Is one odd?", "Is two odd?")]
    responses = training.generate(policy, prompts, max_new_tokens=8, seed=3)
    assert responses == training.generate(policy, prompts, max_new_tokens=8, seed=3)
    assert responses != training.generate(policy, prompts, max_new_tokens=8, seed=4)
    assert training.generate(policy, []) == []
    folders = {name: ppo_inputs[f"preference_model:{name}"] for name in ("factuality", "toxicity")}
    scores = training.score(folders, prompts, responses)
    assert scores.shape == (2, 2) and scores.dtype == torch.float32
    reward = training.scalarize(scores, torch.tensor([0.75, 0.25]), training.Scalarization())
    assert torch.allclose(reward, scores @ torch.tensor([0.75, 0.25]), atol=1e-6)


def test_torch_is_loaded_with_the_first_name_and_not_before() -> None:
    script = ("import sys, training; from training import config; assert 'torch' not in sys.modules; "
              "training.scalarize; assert 'torch' in sys.modules")
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120).returncode == 0
