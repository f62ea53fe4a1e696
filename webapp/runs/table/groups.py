"""The table of runs by groups: runs that have the same in one field, with the mean of each number and its interval.

The interval is Student's: mean ± t(0.975, n - 1) s / √n, with the standard deviation s of the runs in the group. It
says what another repetition would do to the mean, as far as the group's runs are repetitions: group by `settings` for
that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import F, QuerySet
from scipy.special import stdtrit

from webapp.accounts.models import Team
from webapp.runs.models import Run, RunValue
from webapp.runs.run_values import Value
from webapp.runs.table.columns import Column, shown
from webapp.runs.table.fields import HEADINGS, Fields, UnknownField, heading
from webapp.runs.table.grammar import Comparison, Labelled, Term, format_query

GROUPABLE = {"status": F("status"), "by": F("created_by__username"), "name": F("name"), "tags": F("tags__name")}
"""Fields of a run itself that make groups; a run with several tags is in several groups."""

INSTEAD = {"sparkline": "reward/total"}


@dataclass(frozen=True)
class Mean:
    """A mean over `n` runs, with its 95% interval where there are two or more."""

    name: str
    n: int
    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        return shown(self.name, self.mean)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{shown(self.name, self.low)} to {shown(self.name, self.high)}"


@dataclass(frozen=True)
class Group:
    """Runs with the same value; `query` finds them in words, "" where words cannot."""

    value: Value | None
    text: str
    count: int
    means: list[Mean | None]
    query: str


@dataclass(frozen=True)
class Grouped:
    """`columns` are the numeric ones of those that were asked for: some run that matches has a number there."""

    name: str
    heading: str
    columns: list[Column]
    groups: list[Group]


def group_field(fields: Fields, asked: str) -> tuple[str, list[str]]:
    """The field that an address groups by, "" for none, and what is wrong with it."""
    if not asked.strip():
        return "", []
    try:
        name = fields.resolve(asked)
    except UnknownField as problem:
        return "", [f"Not grouped. {problem}"]
    if name not in fields.keys and name not in GROUPABLE and name not in HEADINGS:
        return "", [f"Not grouped: {name} makes no groups. Group by a setting, status, by, tags, name or settings."]
    return name, []


def grouped(team: Team, fields: Fields, runs: QuerySet[Run], name: str, columns: Sequence[Column]) -> Grouped:
    """The groups in the order of their values, those without one last; three queries, whatever the number of runs."""
    members = _members(fields, runs, name)
    field_of_column = {column.name: fields.keys[INSTEAD.get(column.name, column.name)] for column in columns
              if INSTEAD.get(column.name, column.name) in fields.keys}
    numbers: dict[int, dict[int, float]] = defaultdict(dict)
    matching = runs.order_by().values("pk")
    stored = RunValue.objects.filter(field__in=set(field_of_column.values()), run__in=matching)
    for field, run, number in stored.values_list("field", "run", "number"):
        if number is not None:
            numbers[field][run] = number
    numeric = [column for column in columns if numbers.get(field_of_column.get(column.name, 0))]
    groups = []
    for value, keys in members.items():
        means = [_mean(INSTEAD.get(column.name, column.name), (
            numbers[field_of_column[column.name]][key] for key in keys if key in numbers[field_of_column[column.name]]))
            for column in numeric]
        groups.append(Group(value, shown(name, value), len(keys), means, _query(name, value)))
    groups.sort(key=_place)
    return Grouped(name, heading(name), numeric, groups)


def _place(group: Group) -> tuple[int, float, str]:
    """Numbers by size, then texts, then nothing."""
    if isinstance(group.value, str):
        return 1, 0.0, group.value.lower()
    return (2, 0.0, "") if group.value is None else (0, group.value, "")


def _members(fields: Fields, runs: QuerySet[Run], name: str) -> dict[Value | None, list[int]]:
    """The keys of the runs of each group; those without a value are one."""
    value_of: dict[int, list[Value | None]] = defaultdict(list)
    plain = runs.order_by()
    if name not in GROUPABLE:
        stored = RunValue.objects.filter(field=fields.keys.get(name), run__in=plain.values("pk"))
        for run, number, text in stored.values_list("run", "number", "text"):
            value_of[run].append(text if number is None else number)
        keys: Iterable[int] = plain.values_list("pk", flat=True)
    else:
        rows = list(plain.annotate(group_value=GROUPABLE[name]).values_list("pk", "group_value"))
        for run, value in rows:
            value_of[run].append(value)
        keys = dict.fromkeys(run for run, _ in rows)
    members: dict[Value | None, list[int]] = defaultdict(list)
    for key in keys:
        for group in value_of.get(key, [None]):
            members[group].append(key)
    return members


def _mean(name: str, numbers: Iterable[float]) -> Mean | None:
    values = np.fromiter(numbers, float)
    n = len(values)
    if not n:
        return None
    mean = float(values.mean())
    if n == 1:
        return Mean(name, n, mean)
    half = float(stdtrit(n - 1, 0.975)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Mean(name, n, mean, mean - half, mean + half)


def _query(name: str, value: Value | None) -> str:
    """Words that find the runs of a group."""
    term: Term
    if value is None:
        return format_query([Comparison(name, "=", "none")]) if name not in GROUPABLE else ""
    if name in ("status", "by", "tags"):
        label = {"status": "status", "by": "by", "tags": "tag"}[name]
        term = Labelled(label, str(value))  # type: ignore[arg-type]
    else:
        term = Comparison(name, "=", value if isinstance(value, str) else repr(value))
    return format_query([term])


def narrowed(query: str, group: Group) -> str:
    """The words of the page and those of a group."""
    return f"{query} {group.query}".strip()
