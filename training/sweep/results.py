"""What a sweep found so far: sweep.json for programs, front.md for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.fronts.bootstrap import DRAWS, Interval, hypervolume_interval
from training.fronts.dominance import dominance_counts, non_dominated
from training.fronts.hypervolume import hypervolume
from training.run.artifacts import write_json, write_text
from training.sweep.combinations import REPEAT
from training.sweep.objectives import Measured, Objective, sample_of
from training.sweep.sweep_plan import SweepRun

State = Literal["waiting", "done", "failed", "stopped"]
FEW_DRAWS, MANY_OBJECTIVES = 200, 6  # of more objectives a volume takes long to compute, and so fewer are drawn


@dataclass
class Result:
    """Where one run is: its state, why it is not done, where its stages are, and once it is done its objectives."""

    run: SweepRun
    state: State = "waiting"
    reason: str = ""
    folders: Mapping[str, Path] = field(default_factory=dict)
    values: Mapping[str, Measured] = field(default_factory=dict)


class Front:
    """The finished runs of a sweep as points, and which of them are not dominated."""

    def __init__(self, objectives: Sequence[Objective], results: Sequence[Result]) -> None:
        self.objectives, self.done = objectives, [result for result in results if result.state == "done"]
        self.values = {result.run.number: result.values for result in self.done}
        points = [[values[objective.name].value for objective in objectives] for values in self.values.values()]
        directions = [objective.direction for objective in objectives]
        self.dominated_by = dict(zip(self.values, dominance_counts(points, directions), strict=True))
        self.non_dominated = dict(zip(self.values, non_dominated(points, directions), strict=True))
        self._points, self._directions = points, directions
        self._worst = [objective.reference for objective in objectives]

    def volume(self) -> float:
        return hypervolume(self._points, self._worst, self._directions)

    def interval(self) -> Interval | None:
        """The hypervolume with its interval, where there is a point and the outcome of each prompt is known."""
        samples = [sample_of(self.objectives, result.values, result.folders) for result in self.done]
        known = [sample for sample in samples if sample is not None]
        if not known or len(known) < len(samples):
            return None
        draws = FEW_DRAWS if len(self.objectives) > MANY_OBJECTIVES else DRAWS
        return hypervolume_interval(known, self._worst, self._directions, draws)


def write_results(out: Path, name: str, objectives: Sequence[Objective], results: Sequence[Result],
                  stages: tuple[int, int], has_ended: bool) -> None:
    """Write sweep.json and front.md of what is known.

    Args:
        has_ended: whether no more runs come in this call: then the hypervolume has its interval, which takes seconds.
    """
    front = Front(objectives, results)
    volume, interval = front.volume(), front.interval() if has_ended else None
    write_json(out / "sweep.json", {
        "recipe": name,
        "objectives": [objective._asdict() for objective in objectives],
        "stages": {"total": stages[0], "distinct": stages[1]},
        "runs": [_as_json(result, front, out) for result in results],
        "hypervolume": {"value": volume, "low": interval.low if interval else None,
                        "high": interval.high if interval else None, "points": len(front.done)},
    })
    write_text(out / "front.md", front_page(name, front, results, volume, interval))


def _as_json(result: Result, front: Front, out: Path) -> dict[str, Any]:
    number = result.run.number
    record: dict[str, Any] = {"number": number, "varied": result.run.varied, "state": result.state,
                              "stages": {name: str(path.relative_to(out)) for name, path in result.folders.items()}}
    if result.reason:
        record["reason"] = result.reason
    if number in front.values:
        record |= {"objectives": {name: value._asdict() for name, value in front.values[number].items()},
                   "non_dominated": front.non_dominated[number], "dominated_by": front.dominated_by[number]}
    return record


# front.md -------------------------------------------------------------------------------------------------------------


def front_page(name: str, front: Front, results: Sequence[Result], volume: float, interval: Interval | None) -> str:
    """The table of the runs: those that no other one dominates are marked."""
    paths = list(dict.fromkeys(path for result in results for path in result.run.varied))
    heads = ["run", *(f"`{path}`" for path in paths), *(_head(objective) for objective in front.objectives), "front"]
    lines = [f"# The front of {name}", "", "| " + " | ".join(map(_cell, heads)) + " |", "| --- " * len(heads) + "|"]
    for result in results:
        cells = [str(result.run.number), *(_setting(result.run.varied.get(path, "")) for path in paths),
                 *_values(result, front)]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    lines += ["", "● no other run is at least as good in every objective and better in one. Intervals are 95%, over "
              "prompts."]
    if any(REPEAT in result.run.varied for result in results):
        lines[-1] += " The spread between repetitions says more about the noise of training."
    lines += ["", _volume_sentence(front, volume, interval)]
    if open_results := [result for result in results if result.state != "done"]:
        lines += ["", "## Not done", ""]
        lines += [f"- Run {result.run.number} ({result.run.title}): {result.state}. {result.reason}".rstrip()
                  for result in open_results]
    return "\n".join(lines) + "\n"


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _head(objective: Objective) -> str:
    return f"{objective.name}, nats per response (lower is better)" if objective.direction == "lower" \
        else f"{objective.name}, win rate"


def _values(result: Result, front: Front) -> list[str]:
    number = result.run.number
    if number not in front.values:
        return [*("" for _ in front.objectives), result.state]
    values = [_in_words(front.values[number][objective.name], objective) for objective in front.objectives]
    return [*values, "●" if front.non_dominated[number] else f"dominated by {front.dominated_by[number]}"]


def _in_words(value: Measured, objective: Objective) -> str:
    if objective.direction == "lower":
        return f"{value.value:.2f}"
    interval = "" if value.low is None or value.high is None else f" ({value.low:.0%} to {value.high:.0%})"
    return f"{value.value:.0%}{interval}"


def _volume_sentence(front: Front, volume: float, interval: Interval | None) -> str:
    worst = ", ".join(f"{objective.name} {objective.reference:g}" for objective in front.objectives)
    between = f" ({interval.low:.3g} to {interval.high:.3g})" if interval else ""
    runs = f"{len(front.done)} run{'' if len(front.done) == 1 else 's'}"
    return f"Hypervolume of {runs}: {volume:.3g}{between}, from the reference point {worst}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
