"""The engine as a library: the names that `import training` offers, and nothing else is promised.

    import training

    recipe = training.shipped_recipe("demo")
    training.run_recipe(recipe, Path("runs/first"))
    policy = training.load_policy("demo-world", adapter=Path("runs/first/stages/.../adapter"))
    training.generate(policy, [[{"role": "user", "content": "What is the bird of Brisk?"}]])

`training` loads this module, and torch with it, when the first of these names is used. A name, a parameter or a default
that changes here is a change that users notice: tests/training/test_public_names.py holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.config import Recipe, Scalarization, check_recipe, parse_recipe, shipped_recipe
from training.dialogue import Dialogue
from training.models import full_weights, language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.token_statistics import token_statistics
from training.ppo.policy_gradient import (
    advantages_and_returns,
    kl_k1,
    kl_k3,
    next_kl_coefficient,
    policy_loss,
    token_rewards,
    value_loss,
)
from training.preference_models import PreferenceModels
from training.recipe_run import run_recipe
from training.reward.rewards import PrincipleRewards, Rewards
from training.reward.scalarization import contributions, scalarize
from training.run.pipeline import identities, plan

__all__ = [
    "Dialogue", "LanguageModel", "PreferenceModels", "PrincipleRewards", "Recipe", "Rewards", "Scalarization",
    "advantages_and_returns", "check_recipe", "contributions", "generate", "identities", "kl_k1", "kl_k3",
    "load_policy", "next_kl_coefficient", "parse_recipe", "plan", "policy_loss", "run_recipe", "scalarize", "score",
    "shipped_recipe", "token_rewards", "token_statistics", "value_loss",
]  # fmt: skip


def load_policy(base: str | Path, adapter: Path | None = None, device: str = "auto",
                precision: str = "fp32") -> LanguageModel:
    """A policy ready to answer: a base model, with what a `ppo` stage made of it where that is given.

    Args:
        base: "demo-world", the name of a folder in the folder of models, a hub id, or a path.
        adapter: the `adapter/` of a complete `ppo` stage, or its `model/` where every weight was trained.
        device: "auto", "cpu", "cuda", "cuda:1" and so on.
        precision: "fp32" or "bf16".

    Raises:
        ModelUnavailable: the base or the adapter cannot be loaded.
        OutOfMemory: it does not fit.
    """
    policy = language_model.load(base, language_model.pick_device(device), precision)
    return policy if adapter is None else full_weights.load_tuned(policy, adapter)


def generate(policy: LanguageModel, prompts: Sequence[Dialogue], max_new_tokens: int = 64, temperature: float = 1.0,
             top_p: float = 1.0, seed: int = 0) -> list[str]:
    """One response per prompt, without stop strings and end tokens. The same seed gives the same responses.

    Raises:
        BadData: a prompt is too long for the policy.
    """
    if not prompts:
        return []
    ids, mask = rollouts.pad_prompts(policy, prompts, max_new_tokens)
    sampling = rollouts.Sampling(max_new_tokens, temperature, top_p)
    with language_model.merged(policy):
        answers = rollouts.generate(policy, ids, mask, sampling, torch.Generator().manual_seed(seed))
    return rollouts.texts(policy, answers)


def score(folders: Mapping[str, Path], prompts: Sequence[Dialogue], responses: Sequence[str], device: str = "cpu",
          precision: str = "fp32", batch_size: int = 64) -> Tensor:
    """Standardised scores of one response per prompt, [response, principle] in fp32; higher is better.

    Args:
        folders: the complete `preference_model` stage of each principle, by its name, in the order of the columns.

    Raises:
        ModelUnavailable: a preference model cannot be loaded.
    """
    return PreferenceModels.load(folders, device, precision).score(prompts, responses, batch_size)
