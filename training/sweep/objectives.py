"""The objectives of a front: what is read from the evaluation and the PPO stage of a finished run.

A principle (or "overall") is a win rate against the base, as the evaluation reports it, and higher is better. "kl" is
the KL to the base in nats per response that the last phase of PPO measured, and lower is better. It has no interval,
since the evaluation does not measure it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from training.config import Recipe
from training.errors import BadSettings
from training.fronts.bootstrap import Sample
from training.fronts.dominance import Direction
from training.quality.win_rates import outcome
from training.run.artifacts import digest_of, read_json, read_jsonl
from training.sweep.sweep_file import ObjectiveChoice

KL = "kl"
OVERALL = "overall"
KL_TARGETS = 2.0
"""The reference point of KL, where none is given: this many times the largest target of the runs."""


class Objective(NamedTuple):
    """`reference` is the worst value that counts in the hypervolume."""

    name: str
    direction: Direction
    reference: float


class Measured(NamedTuple):
    """The value of an objective for one run, with its 95 % interval and the number of prompts, where it has them."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


def objectives_of(chosen: Sequence[ObjectiveChoice], recipes: Sequence[Recipe]) -> list[Objective]:
    """The objectives that were chosen, or the win rate of each principle.

    Raises:
        BadSettings: a run has no such objective, one is named twice, or there are more than a front has.
    """
    chosen = chosen or [ObjectiveChoice(name=choice.name) for choice in recipes[0].principles]
    objectives = []
    for choice in chosen:
        lacking = [recipe for recipe in recipes if choice.name not in (KL, OVERALL, *_principles(recipe))]
        if lacking:
            raise BadSettings(f"'objectives' names '{choice.name}', which '{lacking[0].name}' does not report.",
                              f"Name only {', '.join((*_principles(lacking[0]), OVERALL, KL))}.")
        is_kl = choice.name == KL and all(KL not in _principles(recipe) for recipe in recipes)
        worst = KL_TARGETS * max(recipe.ppo.kl.target for recipe in recipes) if is_kl else 0.0
        objectives.append(Objective(choice.name, "lower" if is_kl else "higher",
                                    worst if choice.reference is None else choice.reference))
    names = [objective.name for objective in objectives]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadSettings(f"'objectives' names {', '.join(doubled)} twice.", "Remove one of them.")
    return objectives


def _principles(recipe: Recipe) -> list[str]:
    return [choice.name for choice in recipe.principles]


def measured(objectives: Sequence[Objective], folders: Mapping[str, Path]) -> dict[str, Measured]:
    """The value of each objective for a finished run, whose stages have these folders."""
    report = read_json(folders["evaluate"] / "report.json")
    rates: dict[str, dict[str, Any]] = report["principles"] | {OVERALL: report["overall"]}
    last: dict[str, float] = read_json(folders["ppo"] / "summary.json")["last"]
    return {objective.name: Measured(last["kl/mean"]) if objective.direction == "lower" else
            Measured(*(rates[objective.name][key] for key in ("win_rate", "low", "high", "n")))
            for objective in objectives}


def sample_of(objectives: Sequence[Objective], values: Mapping[str, Measured],
              folders: Mapping[str, Path]) -> Sample | None:
    """The outcome of each prompt of a finished run; None where an earlier Concord evaluated it and kept none."""
    rows = list(read_jsonl(folders["evaluate"] / "answers.jsonl"))
    if any("verdicts" not in row for row in rows):
        return None
    columns = []
    for objective in objectives:
        if objective.direction == "lower":
            columns.append([values[objective.name].value] * len(rows))
        else:
            outcomes = [outcome(row["verdicts"][objective.name]) for row in rows]
            columns.append([np.nan if counted is None else counted for counted in outcomes])
    prompts: Hashable = digest_of([row["prompt"] for row in rows])
    return Sample(np.array(columns, dtype=float).T, prompts)
