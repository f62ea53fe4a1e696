"""The final numbers of several runs: a row per number, a cell per run, and which differ by more than their noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from django.db.models import Max

from webapp.principles.models import Principle
from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.compare.noise import Difference, Estimate, difference
from webapp.runs.models import MetricChunk
from webapp.runs.page.selectors import win_of

KL, LENGTH = "kl/mean", "response/length"
Kind: TypeAlias = Literal["share", "number", "duration"]


@dataclass(frozen=True)
class Cell:
    """A number of one run. Without an interval there is no `estimate` and nothing to compare."""

    value: float | None
    estimate: Estimate | None = None
    n: int | None = None
    why_missing: str = ""
    from_baseline: Difference | None = None

    @property
    def is_beyond_noise(self) -> bool:
        return self.from_baseline is not None and self.from_baseline.is_beyond_noise

    @property
    def direction(self) -> str:
        return "higher" if self.from_baseline is not None and self.from_baseline.value > 0 else "lower"


@dataclass(frozen=True)
class Row:
    label: str
    kind: Kind
    cells: list[Cell]
    principle: Principle | None = None
    unit: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under one heading, with what their numbers are."""

    title: str
    about: str
    rows: list[Row]


def final_numbers(runs: Sequence[ComparedRun], principles: Mapping[str, Principle]) -> list[Block]:
    """The blocks of the table, without those of which no run has a number; two queries. `principles` by name."""
    newest = _newest([compared.ppo.pk for compared in runs if compared.ppo is not None])

    def series(tag: str) -> list[Cell]:
        return [Cell(newest.get((compared.ppo.pk if compared.ppo else 0, tag)), why_missing="no PPO yet")
                for compared in runs]

    def rows(number: Callable[[str, dict[str, Any]], Cell | None], key: str, kind: Kind, unit: str = "") -> list[Row]:
        return [Row(name, kind, _against_first([_evaluated(compared, partial(number, name)) for compared in runs]),
                    principles.get(name) or Principle(name=name), unit) for name in _names(runs, key)]

    overall = Row("Overall", "share", _against_first([_evaluated(compared, _overall) for compared in runs]))
    blocks = [
        Block("Win rate against its base", "How often its answer to a held-out prompt is preferred to its base's.",
              [overall, *rows(_win, "principles", "share")]),
        Block("Measured change", "What programs measured: the policy's mean minus its base's, in the measure's units.",
              rows(_measured, "measures", "number")),
        Block("Score of the preference model", "The policy's mean score minus its base's, in "
              "standard deviations of the run's own model: runs that share no model have scales of their own.",
              rows(_opinion, "opinions", "number", "sd")),
        Block("Training", "The last value that was reported, and the time from start to end, waiting included.", [
            Row("KL to the reference", "number", series(KL), unit="nats"),
            Row("Response length", "number", series(LENGTH), unit="tokens"),
            Row("Duration", "duration", [Cell(compared.seconds, why_missing="–") for compared in runs])]),
    ]
    return [block for block in blocks if block.rows]


def _evaluated(compared: ComparedRun, cell_of: Callable[[dict[str, Any]], Cell | None]) -> Cell:
    if not compared.evaluation:
        return Cell(None, why_missing="no evaluation yet" if compared.is_under_way else "no evaluation")
    return cell_of(compared.evaluation) or Cell(None, why_missing="not evaluated")


def _overall(report: dict[str, Any]) -> Cell | None:
    return _share(report.get("overall"))


def _win(name: str, report: dict[str, Any]) -> Cell | None:
    return _share(report.get("principles", {}).get(name))


def _share(rate: Any) -> Cell | None:
    win = win_of(rate)
    return Cell(win.rate, Estimate(win.rate, win.low, win.high), win.n) if win is not None else None


def _measured(name: str, report: dict[str, Any]) -> Cell | None:
    means = report.get("measures", {}).get(name, {})
    return _mean(means.get("difference"), means.get("n"))


def _opinion(name: str, report: dict[str, Any]) -> Cell | None:
    return _mean(report.get("opinions", {}).get(name, {}).get("difference"), None)


def _mean(mean: dict[str, float] | None, n: int | None) -> Cell | None:
    if not mean:
        return None
    return Cell(mean["mean"], Estimate(mean["mean"], mean["low"], mean["high"]), n)


def _against_first(cells: list[Cell]) -> list[Cell]:
    """Each cell with its difference from the first run's, where both have an interval."""
    first = cells[0].estimate
    return [cell if place == 0 or first is None or cell.estimate is None else
            Cell(cell.value, cell.estimate, cell.n, from_baseline=difference(first, cell.estimate))
            for place, cell in enumerate(cells)]


def _names(runs: Sequence[ComparedRun], key: str) -> list[str]:
    """The principles of any run's report, in the order of the reports."""
    return list(dict.fromkeys(name for compared in runs for name in compared.evaluation.get(key, {})))


def _newest(stages: Sequence[int]) -> dict[tuple[int, str], float]:
    """The last value of a stage's series; chunks are made in order."""
    chunks = MetricChunk.objects.filter(stage__in=stages, tag__in=(KL, LENGTH))
    last = [key for *_, key in chunks.values_list("stage", "tag").annotate(Max("pk"))]
    return {(stage, tag): value for stage, tag, values in MetricChunk.objects.filter(pk__in=last).values_list(
            "stage", "tag", "values") if np.isfinite(value := float(np.frombuffer(bytes(values), "<f8")[-1]))}
