"""The columns of the table of runs: those that an address names, in its order, and what stands in their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count

from webapp.accounts.durations import duration
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunValue
from webapp.runs.run_values import Value, Values, values_of
from webapp.runs.table.fields import Fields, UnknownField, heading

DEFAULT = ("status", "sparkline", "scalarization.function", "principles", "win", "kl/mean", "duration", "started")
NARROW = ("status", "win")  # those of the default columns that a phone shows
RICH = ("status", "sparkline", "principles", "win", "kl/mean", "duration", "started", "by", "tags", "note")
"""Columns with a cell of their own in the template."""

NUMERIC = ("win", "kl/mean", "duration", "seeds")
SHARES = ("win", "accuracy.")
MOST = 24  # columns of a table


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        is_default: the address names no columns; the less important ones are then left out on a phone.
    """

    name: str
    is_default: bool = False

    @property
    def heading(self) -> str:
        return heading(self.name)

    @property
    def kind(self) -> str:
        return self.name if self.name in RICH else "value"

    @property
    def is_numeric(self) -> bool:
        return self.name in NUMERIC

    @property
    def is_only_wide(self) -> bool:
        return self.is_default and self.name not in NARROW


@dataclass(frozen=True)
class Cell:
    """What a run has in a column; `exact` is shown on hover."""

    column: Column
    value: Value | None = None

    @property
    def is_number(self) -> bool:
        return self.column.is_numeric or isinstance(self.value, float)

    @property
    def text(self) -> str:
        return shown(self.column.name, self.value)

    @property
    def exact(self) -> str:
        return "" if self.value is None else str(self.value)


def columns_of(fields: Fields, asked: str) -> tuple[list[Column], list[str]]:
    """The columns that an address names, each once, and what is wrong with the others. None means the usual ones."""
    if not asked.strip():
        return [Column(name, is_default=True) for name in DEFAULT], []
    names: dict[str, None] = {}
    problems = []
    for path in filter(None, (part.strip() for part in asked.split(","))):
        try:
            names[fields.resolve(path)] = None
        except UnknownField as problem:
            problems.append(f"Column left out. {problem}")
    if len(names) > MOST:
        problems.append(f"These are {len(names)} columns; the first {MOST} are shown.")
    return [Column(name) for name in list(names)[:MOST] if name != "name"], problems


def values_by_run(team: Team, fields: Fields, runs: Sequence[Run], names: Sequence[str]) -> dict[int, Values]:
    """What runs have under some names. Those of runs under way are computed as they are now; five queries more."""
    known_names = [name for name in names if name in fields.keys]
    values: dict[int, Values] = {run.pk: {} for run in runs}
    name_of = {fields.keys[name]: name for name in known_names}
    if known_names:
        stored = RunValue.objects.filter(run__in=list(values), field__in=list(name_of))
        for run, field, number, text in stored.values_list("run", "field", "number", "text"):
            values[run][name_of[field]] = text if number is None else number
        under_way = [run for run in runs if run.status == Run.Status.RUNNING]
        for pk, fresh in (values_of(under_way) if under_way else {}).items():
            values[pk] = {name: fresh[name] for name in known_names if name in fresh}
    if "seeds" in names and "settings" in fields.keys:
        _add_seeds(fields.keys["settings"], values)
    return values


def _add_seeds(settings: int, values: dict[int, Values]) -> None:
    """How many runs have the same settings as each, itself included."""
    of_settings = RunValue.objects.filter(field=settings)
    text_of = dict(of_settings.filter(run__in=list(values)).values_list("run", "text"))
    alike = of_settings.filter(text__in=set(text_of.values())).order_by()
    counts = dict(alike.values_list("text").annotate(Count("pk")))
    for run, text in text_of.items():
        values[run]["seeds"] = float(counts[text])


def cells(columns: Sequence[Column], values: Values) -> list[Cell]:
    return [Cell(column, values.get(column.name)) for column in columns]


def shown(name: str, value: Value | None) -> str:
    """A value as a cell shows it: four figures, a share as a percentage, a duration in its units."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if name == "duration":
        return duration(value)
    if name.startswith(SHARES) and name != "win.pairs":
        return f"{100 * value:.0f}%"
    text = f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"
    return text.replace("-", "−")
