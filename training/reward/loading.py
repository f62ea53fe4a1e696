"""The reward of a run: its preference models, weights and scalarization loaded, and what is reported of a batch."""

from __future__ import annotations

import torch

from training.config import Scalarization
from training.preference_models import PreferenceModels
from training.reward.rewards import PrincipleRewards, Rewards
from training.run.artifacts import Job, read_json


def load_rewards(job: Job, device: torch.device) -> PrincipleRewards:
    """The preference models of the run's principles, with its weights and its scalarization."""
    folders = {name: job.inputs[f"preference_model:{name}"] for name in job.settings["principles"]}
    scorer = PreferenceModels.load(folders, device, job.settings["precision"])
    weights = read_json(job.inputs["weights"] / "weights.json")["weights"]
    return PrincipleRewards(scorer, weights, Scalarization.model_validate(job.settings["scalarization"]))


def principle_metrics(names: tuple[str, ...], rewards: Rewards) -> dict[str, float]:
    """The scalarized reward, before clip, penalty and KL, and for each principle its scores, its contribution and the
    share of responses whose reward it drove."""
    metrics = {"reward/total": float(rewards.total.mean()), "reward/total_std": float(rewards.total.std())}
    for i, name in enumerate(names):
        metrics[f"principle/{name}/raw"] = float(rewards.raw[:, i].mean())
        metrics[f"principle/{name}/standardised"] = float(rewards.standardised[:, i].mean())
        metrics[f"principle/{name}/weighted"] = float(rewards.weighted[:, i].mean())
        if len(names) > 1:
            metrics[f"active/{name}"] = float((rewards.active == i).float().mean())
    return metrics
