"""Which policies can be points of a run's front: checkpoints, mixes of corners, a line to another run, saved mixes.

A point is a weighted sum of policies that the playground knows; one policy alone has weight 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from webapp.fronts.models import PolicyPoint
from webapp.playground.models import PolicyMix
from webapp.playground.selectors import FinishedRun, Policies

Kind = PolicyPoint.Kind
Parts = tuple[tuple[str, float], ...]
FEWEST_ON_A_LINE, MOST_ON_A_LINE = 5, 11
MOST_CHECKPOINTS = 15
MOST_OF_A_GRID = {2: 11}  # by number of corners
MOST_OF_A_LARGE_GRID = 15
MOST_POINTS = 40


@dataclass(frozen=True)
class Candidate:
    """A policy that a front may have. `mix`: the number of the saved mix that it is."""

    kind: str
    label: str
    parts: Parts
    mix: int | None = None

    @property
    def is_single(self) -> bool:
        return len(self.parts) == 1 and self.parts[0][1] == 1


def end_of(run: FinishedRun) -> Candidate:
    return Candidate(Kind.RUN, run.name, ((run.tuned.key, 1.0),))


def checkpoints_of(run: FinishedRun, count: int) -> list[Candidate]:
    """At most `count` of the kept checkpoints, evenly spaced, the first and the last among them."""
    steps = run.kept
    count = min(count, len(steps), MOST_CHECKPOINTS)
    places = [round(place * (len(steps) - 1) / max(1, count - 1)) for place in range(count)]
    return [Candidate(Kind.CHECKPOINT, f"step {steps[place]}", ((run.at(steps[place]).key, 1.0),)) for place in places]


def line_between(run: FinishedRun, other: FinishedRun, count: int) -> list[Candidate]:
    """So many mixes of two runs from the one to the other, both ends among them."""
    count = min(max(count, FEWEST_ON_A_LINE), MOST_ON_A_LINE)
    points = []
    for step in range(count):
        share = round(step / (count - 1), 6)
        parts = _without_zeros([(run.tuned.key, round(1 - share, 6)), (other.tuned.key, share)])
        names = [run.name, other.name] if run.name != other.name else [run.tuned.title, other.tuned.title]
        points.append(Candidate(Kind.LINE, _label(names, [1 - share, share]), parts))
    return points


def grid_of(run: FinishedRun, divisions: int) -> list[Candidate]:
    """Every mix of a conditioned run's corners whose shares are multiples of 1 / divisions, in order."""
    if divisions not in grids_of(run):
        return []
    return [Candidate(Kind.CORNER, _label(run.corners, [count / divisions for count in counts]), _without_zeros(
        [(run.corner(name).key, round(count / divisions, 6)) for name, count in zip(run.corners, counts, strict=True)]))
        for counts in _compositions(divisions, len(run.corners))]


def grids_of(run: FinishedRun) -> dict[int, int]:
    """The grids to choose among: how many parts a share has, and how many points that makes."""
    corners = len(run.corners)
    if corners < 2:
        return {}
    most = MOST_OF_A_GRID.get(corners, MOST_OF_A_LARGE_GRID)
    sizes = {divisions: math.comb(divisions + corners - 1, corners - 1) for divisions in range(1, most)}
    return {divisions: size for divisions, size in sizes.items() if size <= most}


def partners_of(run: FinishedRun, policies: Policies) -> list[FinishedRun]:
    """The other runs from the same base, newest first."""
    return [other for other in policies.runs if other.run != run.run and other.start.key == run.start.key]


def mixes_for(run: FinishedRun, policies: Policies) -> list[PolicyMix]:
    """The saved mixes of policies from the same base."""
    return [mix for key, mix in policies.mixes.items()
            if (first := policies.find(key)) is not None and first.start.key == run.start.key]


def of_mix(mix: PolicyMix) -> Candidate:
    return Candidate(Kind.MIX, mix.name, tuple((key, float(weight)) for key, weight in mix.parts), mix.pk)


def each_once(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of candidates that are one policy, the first."""
    by_parts: dict[Parts, Candidate] = {}
    for candidate in candidates:
        by_parts.setdefault(tuple(sorted(candidate.parts)), candidate)
    return list(by_parts.values())


def _without_zeros(parts: Sequence[tuple[str, float]]) -> Parts:
    return tuple((key, weight) for key, weight in parts if weight)


def _label(names: Sequence[str], shares: Sequence[float]) -> str:
    """'70% factuality, 30% conciseness', the longest names cut."""
    return ", ".join(f"{share:.0%} {name[:60]}" for name, share in zip(names, shares, strict=True) if share > 1e-9)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to write a total as an ordered sum of so many numbers of 0 or more, the first ones largest first."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
