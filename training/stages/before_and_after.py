"""What changed between the base's answers and the policy's, apart from the verdicts: the truth, as far as programs can
measure it, and what the preference models believe of the same answers.

Beside each other they show over-optimisation: a policy that its preference models call better, and its measure worse
(Gao et al., "Scaling laws for reward model overoptimization", arXiv 2210.10760).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.dialogue import Dialogue
from training.measures import ReferenceOf, no_reference
from training.measures.scale import SafeMeasure
from training.preference_models import PreferenceModels
from training.quality.intervals import mean_interval
from training.run.artifacts import Job


def means_of_measures(
    measures: Mapping[str, Any], prompts: Sequence[Dialogue], tuned: Sequence[str], plain: Sequence[str],
    reference_of: ReferenceOf = no_reference,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """By principle: the mean of the measure over the answers of the `policy`, of the `base`, and of their `difference`
    by prompt, each with its 95% interval; `n`, the prompts whose two answers have a number; and `toward`.

    Args:
        measures: settings by principle.
        reference_of: where the reference answers of prompts are.
    """
    means = {}
    for name, settings in measures.items():
        measure = SafeMeasure(name, settings, reference_of=reference_of)
        both = [(measure(prompt, answer), measure(prompt, other))
                for prompt, answer, other in zip(prompts, tuned, plain, strict=True)]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        means[name] = {"n": len(known), "toward": measure.toward} | _both_and_difference(known)
    return means


def opinions_of_models(
    job: Job, device: torch.device, prompts: Sequence[Dialogue], tuned: Sequence[str], plain: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """By principle with a preference model: its mean score of the answers of the `policy`, of the `base`, and the
    `difference` by prompt, in standard deviations of the scores that it was standardised on, with 95% intervals.

    Raises:
        ModelUnavailable: a preference model cannot be loaded.
    """
    folders = {role.partition(":")[2]: folder for role, folder in job.inputs.items()
               if role.startswith("preference_model:")}
    if not folders:
        return {}
    models = PreferenceModels.load(folders, device, job.settings["precision"])
    mean, std = models.mean.float().cpu(), models.std.float().cpu()
    policy, base = (((models.score_raw(prompts, answers).float().cpu() - mean) / std).tolist()
                    for answers in (tuned, plain))
    return {name: _both_and_difference([(a[column], b[column]) for a, b in zip(policy, base, strict=True)])
            for column, name in enumerate(models.names)}


def _both_and_difference(known: Sequence[tuple[float, float]]) -> dict[str, dict[str, float]]:
    """Means with intervals of (policy, base) and of their difference; {} without any."""
    columns = {"policy": [a for a, _ in known], "base": [b for _, b in known], "difference": [a - b for a, b in known]}
    return {key: dict(zip(("mean", "low", "high"), mean_interval(values), strict=True))
            for key, values in columns.items() if values}
