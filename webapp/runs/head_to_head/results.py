"""A head to head as pages show it: each question with its matrix, in the order and the letters of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q

from webapp.accounts.models import Team
from webapp.principles.models import Principle
from webapp.runs.head_to_head.questions import OVERALL
from webapp.runs.models import HeadToHead, HeadToHeadSide, Run

LETTERS = "ABCDEFGHIJKL"


@dataclass(frozen=True)
class Side:
    """A policy: a run's, or their base (`letter` is ""). `hue` is its class on the page of comparisons."""

    title: str
    letter: str
    hue: str
    run: Run | None


@dataclass(frozen=True)
class Cell:
    """How often the row's policy is preferred to the column's; `rate` None on the diagonal and without verdicts."""

    rate: Mapping[str, Any] | None
    is_own: bool

    @property
    def mark(self) -> str:
        """▲ or ▼ where the interval leaves one half out."""
        if self.rate is None:
            return ""
        return "▲" if self.rate["low"] > 0.5 else "▼" if self.rate["high"] < 0.5 else ""


@dataclass(frozen=True)
class Row:
    side: Side
    cells: list[Cell]
    standing: Mapping[str, Any] | None


@dataclass(frozen=True)
class Answered:
    """One question. `principle` is None for the one over all; `without`: pairs of answers that have no verdict."""

    name: str
    principle: Principle | None
    rows: list[Row]
    without: int


@dataclass(frozen=True)
class Result:
    """`row.result` in the page's order."""

    row: HeadToHead
    sides: list[Side]
    questions: list[Answered]

    @property
    def prompts(self) -> int:
        return int(self.row.result.get("prompts", 0))

    @property
    def overall(self) -> Answered | None:
        return next((question for question in self.questions if question.principle is None), None)

    @property
    def fraction(self) -> float:
        return self.row.done / self.row.total if self.row.total else 0.0

    @property
    def query(self) -> str:
        """Of the comparison of its runs; "" where fewer than two are left."""
        runs = [side.run.pk for side in self.sides if side.run is not None]
        return "?" + "&".join(f"run={run}" for run in runs) if len(runs) > 1 else ""


def result_of(row: HeadToHead, principles: Mapping[str, Principle], order: Sequence[int] = ()) -> Result:
    """One query. `order`: the runs of the page by number; empty: as it was started."""
    own = list(HeadToHeadSide.objects.filter(head_to_head=row).select_related("run").order_by("place"))
    places = sorted(range(len(own)), key=lambda place: order.index(own[place].run_id or 0)
                    if own[place].run_id in order else place)
    sides = [_side(own[place], letter) for letter, place in enumerate(places)]
    if row.with_base:
        sides.append(Side("Base", "", "", None))
        places.append(len(own))
    return Result(row, sides, [_answered(question, sides, places, principles)
                               for question in row.result.get("questions", [])])


def _side(side: HeadToHeadSide, letter: int) -> Side:
    return Side(side.run.name if side.run is not None else f"{side.title} (deleted)", LETTERS[letter],
                f"hue-_run-{letter + 1}", side.run)


def _answered(question: Mapping[str, Any], sides: Sequence[Side], places: Sequence[int],
              principles: Mapping[str, Principle]) -> Answered:
    name, matrix, standings = question["name"], question["matrix"], question["standings"]
    rows = [Row(side, [Cell(matrix[i][j], i == j) for j in places], standings[i])
            for side, i in zip(sides, places, strict=True)]
    principle = None if name == OVERALL else principles.get(name) or Principle(name=name)
    return Answered(name, principle, rows, question["without"])


def newest_of(team: Team, runs: Sequence[int]) -> HeadToHead | None:
    """The newest head to head of exactly these runs."""
    counted = HeadToHead.objects.of(team).annotate(
        all_sides=Count("sides"), inside=Count("sides", filter=Q(sides__run__in=runs)))
    return counted.filter(all_sides=len(runs), inside=len(runs)).order_by("-pk").first()
