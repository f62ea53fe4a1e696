"""The reward of a run: its models, measures, weights and scalarization loaded, and what is reported of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from training.config import Scalarization
from training.dialogue import Dialogue
from training.measures import ReferenceOf, no_reference
from training.measures.scale import Scale
from training.preference_models import PreferenceModels
from training.reward.measured import ComposedScores, Gauges, MeasuredScores
from training.reward.rewards import PrincipleRewards, Rewards, Scorer
from training.run.artifacts import Job, read_json
from training.run.references import references_of
from training.run.reporting import Reporter


def load_rewards(job: Job, device: torch.device, reporter: Reporter | None = None) -> PrincipleRewards:
    """The rewards of the run's principles, with its weights and its scalarization.

    Args:
        reporter: is warned where a measure fails.
    """
    names = job.settings["principles"]
    measures = job.settings.get("measured_rewards", {})
    folders = {name: job.inputs[f"preference_model:{name}"] for name in names if name not in measures}
    fitted = read_json(job.inputs["weights"] / "weights.json")
    scorer = load_scorer(names, folders, measures, fitted.get("scales", {}), device, job.settings["precision"],
                         reporter, references_of(job))
    return PrincipleRewards(scorer, fitted["weights"], Scalarization.model_validate(job.settings["scalarization"]))


def load_scorer(
    names: Sequence[str], folders: Mapping[str, Path], measures: Mapping[str, Any], scales: Mapping[str, Any],
    device: torch.device, precision: str, reporter: Reporter | None = None, reference_of: ReferenceOf = no_reference,
) -> Scorer:  # fmt: skip
    """What scores the rewarded principles, in the order of `names`: preference models, measures, or both.

    Args:
        folders: of preference_model stages, by principle that has one.
        measures: settings of the others' measures by principle; more than `names` may be given.
        scales: what weights.json holds under "scales".
        reference_of: where the reference answers of prompts are.

    Raises:
        ModelUnavailable: a folder or its base cannot be loaded.
    """
    measured = {name: measures[name] for name in names if name in measures}
    scorers: list[Scorer] = [PreferenceModels.load(folders, device, precision)] if folders else []
    if measured:
        scorers.append(MeasuredScores(measured, {name: Scale(scales[name]["mean"], scales[name]["std"])
                                                 for name in measured}, reporter, reference_of))
    return ComposedScores(names, scorers) if measured else scorers[0]


def load_gauges(job: Job, reporter: Reporter) -> Gauges:
    """The gauges of a ppo stage; none where its recipe has none."""
    return Gauges(job.settings.get("gauges", {}), reporter, references_of(job))


def phase_metrics(
    names: tuple[str, ...], rewards: Rewards, gauges: Gauges, prompts: Sequence[Dialogue], responses: Sequence[str]
) -> dict[str, float]:
    """What a phase's answers earned, see `principle_metrics`, and what its gauges show."""
    return principle_metrics(names, rewards) | gauges.metrics(prompts, responses)


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
