"""The order of the table of runs: a field up or down, runs without it last, newer ones first among equals."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, FilteredRelation, Q, QuerySet
from django.db.models.expressions import OrderBy

from webapp.runs.models import Run
from webapp.runs.table.fields import HEADINGS, Fields, UnknownField

OWN = {"name": "name", "status": "status", "started": "created_at", "by": "created_by__username"}
INSTEAD = {"sparkline": "reward/total"}  # what a column without an order of its own is sorted by
TEXTUAL = ("name", "by", "status", "scalarization.function")  # the first click on these sorts upwards


@dataclass(frozen=True)
class Order:
    """A field and a direction; no field is the usual order, newest first."""

    name: str = ""
    descending: bool = False

    @property
    def address(self) -> str:
        return f"-{self.name}" if self.descending else self.name

    def after_click(self, name: str) -> str:
        """The order in the address after a click on a column's head: one way, the other, the usual order."""
        first = Order(name, name not in TEXTUAL)
        if self.name != name:
            return first.address
        return Order(name, not self.descending).address if self == first else ""


def is_sortable(fields: Fields, name: str) -> bool:
    return name in OWN or INSTEAD.get(name, name) in fields.keys


def order_of(fields: Fields, asked: str) -> tuple[Order, list[str]]:
    """The order that an address asks for, and what is wrong with it."""
    if not asked.strip("- "):
        return Order(), []
    try:
        name = fields.resolve(asked.strip().removeprefix("-"))
    except UnknownField as problem:
        return Order(), [f"Not sorted. {problem}"]
    if name in HEADINGS and not is_sortable(fields, name):  # no run has a value yet
        return Order(), []
    if not is_sortable(fields, name):
        return Order(), [f"Not sorted: {name} has no order. Sort by a number, a setting, name, status, by or started."]
    return Order(name, asked.strip().startswith("-")), []


def ordered(runs: QuerySet[Run], fields: Fields, order: Order) -> QuerySet[Run]:
    if not order.name:
        return runs
    name = INSTEAD.get(order.name, order.name)
    if name in OWN:
        return runs.order_by(_directed(OWN[name], order.descending), "-pk")
    joined = runs.annotate(sorted=FilteredRelation("values", condition=Q(values__field=fields.keys[name])))
    return joined.order_by(_directed("sorted__number", order.descending), _directed("sorted__text", order.descending),
                           "-pk")


def _directed(path: str, descending: bool) -> OrderBy:
    return F(path).desc(nulls_last=True) if descending else F(path).asc(nulls_last=True)
