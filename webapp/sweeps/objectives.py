"""What a sweep's runs can be compared by: each objective, and what each finished run reached in it.

Two queries for all runs: what their evaluations report, and the last values of PPO. Repetitions of a combination, which
differ in nothing but `repeat`, count as one point: their mean, with a t interval over the repetitions, which says what
the noise of training is.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from django.urls import reverse
from scipy.special import stdtrit

from training.config import Recipe
from training.fronts.dominance import Direction
from training.sweep.combinations import REPEAT
from training.sweep.objectives import KL_TARGETS
from webapp.runs.models import Run, RunStage
from webapp.sweeps.models import SweepRun

Kind = Literal["share", "number"]


class Axis(NamedTuple):
    """An objective.

    Attributes:
        key: as in an address: `win:NAME`, `overall`, `score:NAME`, `measured:NAME`, `kl`, `length`.
        reference: the worst value that counts in the hypervolume; None: the worst of the runs.
        verdict: the name of its verdicts in an evaluation's answers; "" where it is none.
    """

    key: str
    title: str
    kind: Kind
    direction: Direction
    reference: float | None
    verdict: str
    unit: str = ""


class Value(NamedTuple):
    """A number with its 95% interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def two_digits(self) -> str:
        """'−0.42'; a number that rounds to 0 has no sign."""
        return f"{round(self.value, 2) + 0.0:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Result:
    """A finished run of a sweep with what it reached, by the key of an axis."""

    number: int
    run: int
    varied: Mapping[str, Any]
    values: Mapping[str, Value]
    evaluate: int  # the key of its evaluation's stage


@dataclass(frozen=True)
class Point:
    """One or several repetitions of a combination: `values` of all of them together."""

    results: tuple[Result, ...]
    values: Mapping[str, Value]

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def number(self) -> int:
        return self.first.number

    @property
    def address(self) -> str:
        return reverse("runs:detail", args=[self.first.run])

    @property
    def title(self) -> str:
        numbers = ", ".join(str(result.number) for result in self.results)
        return f"Run{'s' if len(self.results) > 1 else ''} {numbers}"


def axes_of(recipe: Recipe) -> list[Axis]:
    """Every objective that runs of this recipe may report, win rates first."""
    names = [choice.name for choice in recipe.principles]
    modelled = [choice for choice in recipe.principles if choice.measure is None or choice.serves == "labels"]
    measured = [choice.name for choice in recipe.principles if choice.measure is not None]
    return [
        *(Axis(f"win:{name}", f"{name}, win rate", "share", "higher", 0.0, name) for name in names),
        Axis("overall", "Overall, win rate", "share", "higher", 0.0, "overall"),
        *(Axis(f"score:{choice.name}", f"{choice.name}, preference model’s score", "number",
               "lower" if choice.weight < 0 else "higher", None, "", "sd") for choice in modelled),
        *(Axis(f"measured:{name}", f"{name}, measured change", "number", "higher", None, "") for name in measured),
        Axis("kl", "KL to the base", "number", "lower", KL_TARGETS * recipe.ppo.kl.target, "", "nats"),
        Axis("length", "Response length", "number", "lower", None, "", "tokens"),
    ]


def results_of(entries: Sequence[SweepRun]) -> list[Result]:
    """The finished runs among a sweep's entries, in two queries."""
    finished = {entry.run_id: entry for entry in entries
                if entry.run is not None and entry.run.status == Run.Status.SUCCEEDED}
    uses = RunStage.objects.filter(run__in=list(finished))
    reports = {run: (stage, parts) for run, stage, *parts in uses.filter(stage__kind="evaluate").values_list(
        "run", "stage", "stage__summary__overall", "stage__summary__principles", "stage__summary__opinions",
        "stage__summary__measures")}
    last = dict(uses.filter(stage__kind="ppo").values_list("run", "stage__summary__last"))
    return [Result(entry.number, run, entry.varied, _values(reports[run][1], last.get(run)), reports[run][0])
            for run, entry in finished.items() if run is not None and run in reports]


def _values(parts: Sequence[Any], last: Any) -> dict[str, Value]:
    overall, principles, opinions, measures = (part if isinstance(part, dict) else {} for part in parts)
    last = last if isinstance(last, dict) else {}
    read = {"overall": _share(overall), "kl": _number(last.get("kl/mean")),
            "length": _number(last.get("response/length"))}
    read |= {f"win:{name}": _share(rate) for name, rate in principles.items()}
    for prefix, means in (("score", opinions), ("measured", measures)):
        read |= {f"{prefix}:{name}": _mean(mean.get("difference")) for name, mean in means.items()}
    return {key: value for key, value in read.items() if value is not None}


def _share(rate: Any) -> Value | None:
    if not isinstance(rate, dict) or rate.get("win_rate") is None:
        return None
    return Value(rate["win_rate"], rate.get("low"), rate.get("high"))


def _mean(mean: Any) -> Value | None:
    if not isinstance(mean, dict) or mean.get("mean") is None:
        return None
    return Value(mean["mean"], mean.get("low"), mean.get("high"))


def _number(number: Any) -> Value | None:
    return Value(float(number)) if isinstance(number, int | float) and math.isfinite(number) else None


def points_of(results: Sequence[Result]) -> list[Point]:
    """The results with repetitions together, in the order of their first runs."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda result: result.number):
        own = {path: value for path, value in result.varied.items() if path != REPEAT}
        groups[json.dumps(own, sort_keys=True)].append(result)
    return [Point(tuple(group), _together(group)) for group in groups.values()]


def _together(group: Sequence[Result]) -> dict[str, Value]:
    if len(group) == 1:
        return dict(group[0].values)
    shared = [key for key in group[0].values if all(key in result.values for result in group)]
    return {key: mean_of([result.values[key].value for result in group]) for key in shared}


def mean_of(numbers: Sequence[float]) -> Value:
    """The mean of some repetitions with its 95% t interval."""
    mean = float(np.mean(numbers))
    half = float(stdtrit(len(numbers) - 1, 0.975) * np.std(numbers, ddof=1) / math.sqrt(len(numbers)))
    return Value(mean, mean - half, mean + half)
