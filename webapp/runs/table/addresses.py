"""Addresses of the table of runs: this one with something changed, and the links that arrange its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import QueryDict

from webapp.runs.table.columns import Column
from webapp.runs.table.fields import Fields
from webapp.runs.table.sorting import Order, is_sortable

KEPT = ("q", "status", "columns", "sort", "group")
"""What of an address makes the view; the number of its page does not."""


@dataclass(frozen=True)
class Head:
    """A column's head with its links; "" for one that there is not."""

    column: Column
    sort: str
    aria_sort: str
    left: str
    right: str
    without: str


def changed(query: QueryDict, **changes: str) -> str:
    """The address of the same view with some parts changed; an empty part is left out."""
    result = QueryDict(mutable=True)
    for name in KEPT:
        value = changes.get(name, query.get(name, ""))
        if value:
            result[name] = value
    return f"?{result.urlencode(safe=',:/')}"


def heads(query: QueryDict, fields: Fields, columns: Sequence[Column], order: Order) -> list[Head]:
    names = [column.name for column in columns]

    def arranged(arrangement: Sequence[str]) -> str:
        return changed(query, columns=",".join(arrangement)) if arrangement else ""

    result = []
    for place, column in enumerate(columns):
        swapped = [*names[:place - 1], column.name, names[place - 1], *names[place + 1:]] if place else []
        after = names[place + 1:place + 2]
        moved = [*names[:place], *after, column.name, *names[place + 2:]] if after else []
        result.append(Head(
            column, changed(query, sort=order.after_click(column.name)) if is_sortable(fields, column.name) else "",
            ("descending" if order.descending else "ascending") if order.name == column.name else "",
            arranged(swapped), arranged(moved), arranged([name for name in names if name != column.name])))
    return result


def name_head(query: QueryDict, order: Order) -> Head:
    """The head of the first column, which stays."""
    direction = ("descending" if order.descending else "ascending") if order.name == "name" else ""
    return Head(Column("name"), changed(query, sort=order.after_click("name")), direction, "", "", "")
