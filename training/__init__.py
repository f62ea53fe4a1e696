"""Concord's engine: preference models, scalarization and PPO as a library and a command line.

Knows nothing of Django, Celery, databases or the environment. The names below are what `import training` offers; they
are those of `training.api`, which is loaded, and torch with it, when the first of them is used. Everything else may
change. Which folders need no torch says docs/architecture.md; the web imports those and nothing else.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Dialogue", "LanguageModel", "PreferenceModels", "PrincipleRewards", "Recipe", "Rewards", "Scalarization",
    "advantages_and_returns", "check_recipe", "contributions", "generate", "identities", "kl_k1", "kl_k3",
    "load_policy", "next_kl_coefficient", "parse_recipe", "plan", "policy_loss", "run_recipe", "scalarize", "score",
    "shipped_recipe", "token_rewards", "token_statistics", "value_loss",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:  # a folder of the engine is found by Python's import itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from training import api

    return getattr(api, name)
