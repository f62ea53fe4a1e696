"""Queries of the pages of sweeps; their number depends neither on the sweeps nor on their runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.models import Count, Q, QuerySet

from training.config import Recipe, read_stored
from training.errors import BadSettings
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunStage, Stage
from webapp.runs.page.selectors import HEAVY
from webapp.runs.progress import BADGES, Shown, run_fraction, run_sentence, run_state
from webapp.runs.waiting import places
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.objectives import Axis, Point, Result, Value, axes_of, points_of, results_of

W = SweepRun.Status


@dataclass(frozen=True)
class ListRow:
    """A sweep in the list: how many runs it has, and how many of them are done, under way, failed."""

    sweep: Sweep
    total: int
    done: int
    under_way: int
    failed: int
    waiting: int

    @property
    def words(self) -> str:
        return sentence(self.total, self.done, self.under_way, self.failed, self.waiting, self.sweep.paused)


@dataclass(frozen=True)
class Row:
    """An entry in the table of a sweep's page."""

    entry: SweepRun
    state: Shown
    sentence: str
    fraction: float
    settings: list[str]
    values: list[tuple[Axis, Value | None]]


def sweep_rows(sweeps: Sequence[Sweep]) -> list[ListRow]:
    """One query for all of them."""
    runs = {sweep: counts for sweep, *counts in SweepRun.objects.filter(sweep__in=list(sweeps)).order_by().values_list(
        "sweep").annotate(
            total=Count("pk"), done=Count("pk", filter=Q(run__status=Run.Status.SUCCEEDED)),
            under_way=Count("pk", filter=Q(run__status=Run.Status.RUNNING)),
            failed=Count("pk", filter=Q(run__status=Run.Status.FAILED) | Q(status=W.REFUSED)),
            waiting=Count("pk", filter=Q(status=W.WAITING)))}
    return [ListRow(sweep, *runs.get(sweep.pk, [0] * 5)) for sweep in sweeps]


def sentence(total: int, done: int, under_way: int, failed: int, waiting: int, paused: bool) -> str:
    """'3 of 10 runs done, 1 under way, 6 waiting; paused'."""
    parts = [f"{done} of {total} run{'' if total == 1 else 's'} done"]
    parts += [f"{count} {words}" for count, words in (
        (under_way, "under way"), (failed, "failed"), (waiting, "waiting"),
        (total - done - under_way - failed - waiting, "cancelled")) if count]
    return ", ".join(parts) + ("; paused, no further run starts" if paused and waiting else "")


class SweepPage:
    """All that the page of one sweep shows, in six queries, and one more for the interval of its front, once."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.entries = list(SweepRun.objects.filter(sweep=sweep).select_related("run", "held_by").defer(
            "run__file_digests", "run__corrections", "run__recipe", "held_by__settings", "held_by__summary"))
        self.problem = ""
        try:
            self.recipe: Recipe | None = _recipe(sweep)
        except BadSettings as problem:
            self.recipe, self.problem = None, str(problem)
        self.axes: list[Axis] = axes_of(self.recipe) if self.recipe is not None else []
        self.paths = list(dict.fromkeys(path for entry in self.entries for path in entry.varied))

    @cached_property
    def counts(self) -> ListRow:
        runs = Counter(entry.run.status for entry in self.entries if entry.run is not None)
        own = Counter(entry.status for entry in self.entries)
        return ListRow(self.sweep, len(self.entries), runs[Run.Status.SUCCEEDED], runs[Run.Status.RUNNING],
                       runs[Run.Status.FAILED] + own[W.REFUSED], own[W.WAITING])

    @property
    def badge(self) -> Shown:
        counts = self.counts
        if counts.under_way:
            return Shown("running", BADGES["running"])
        if counts.waiting:
            return Shown("paused", BADGES["stopped"]) if self.sweep.paused else Shown("waiting", BADGES["waiting"])
        return Shown("failed", BADGES["failed"]) if counts.failed else Shown("done", BADGES["succeeded"])

    @property
    def is_changing(self) -> bool:
        return bool(self.counts.under_way or self.counts.waiting and not self.sweep.paused)

    @cached_property
    def fraction(self) -> float:
        """Of what has not been cancelled."""
        counted = [row for row in self.rows if row.entry.status != W.CANCELLED]
        return sum(row.fraction for row in counted) / len(counted) if counted else 0.0

    @cached_property
    def results(self) -> list[Result]:
        return results_of(self.entries)

    @cached_property
    def points(self) -> list[Point]:
        return points_of(self.results)

    @cached_property
    def columns(self) -> list[Axis]:
        """The objectives of the table: those of which some run has a value, without measured length."""
        known = {key for result in self.results for key in result.values}
        return [axis for axis in self.axes if axis.key in known and axis.key != "length"]

    @cached_property
    def rows(self) -> list[Row]:
        runs = [entry.run for entry in self.entries if entry.run is not None]
        stages: dict[int, list[Stage]] = defaultdict(list)
        for use in RunStage.objects.filter(run__in=runs).order_by("position").select_related("stage").defer(*HEAVY):
            stages[use.run_id].append(use.stage)
        values = {result.number: result.values for result in self.results}
        place = places()
        return [self._row(entry, stages, place, values.get(entry.number, {})) for entry in self.entries]

    def _row(self, entry: SweepRun, stages: dict[int, list[Stage]], place: dict[int, int], values: Any) -> Row:
        run = entry.run
        settings = [_setting(entry.varied[path]) if path in entry.varied else "" for path in self.paths]
        cells = [(axis, values.get(axis.key)) for axis in self.columns]
        if run is not None:
            own = stages[run.pk]
            fraction = 1.0 if run.status != Run.Status.RUNNING else run_fraction(own)
            return Row(entry, run_state(run, own, place.get(run.pk)), run_sentence(run, own), fraction, settings, cells)
        words, badge, text = {
            W.WAITING: ("waiting", BADGES["waiting"], ""),
            W.STARTED: ("deleted", BADGES["stopped"], "Its run was deleted"),
            W.CANCELLED: ("cancelled", BADGES["stopped"], "Never started"),
            W.REFUSED: ("could not start", BADGES["failed"], entry.refusal)}[W(entry.status)]
        if entry.status == W.WAITING and entry.held_by is not None and entry.held_by.status == Stage.Status.FAILED:
            text = f"Needs {entry.held_by.name}, which failed in another run. Resume that run; this one follows."
        return Row(entry, Shown(words, badge), text, 0.0 if entry.status == W.WAITING else 1.0, settings, cells)


def _recipe(sweep: Sweep) -> Recipe:
    return read_stored(sweep.recipe).recipe


def _setting(value: Any) -> str:
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)[:60]


def sweeps_of(team: Team, text: str) -> QuerySet[Sweep]:
    """The team's sweeps whose names hold the text, newest first."""
    sweeps = Sweep.objects.of(team).select_related("created_by").defer("recipe", "over")
    return sweeps.filter(name__icontains=text) if text else sweeps
