"""What pages read about saved judges."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from webapp.accounts.models import Team
from webapp.judges.models import Connection
from webapp.labels.models import Label


@dataclass(frozen=True)
class Row:
    """A judge as the list shows it, with how many labels the team has from a judge of its name."""

    connection: Connection
    labels: int


def connection_rows(*, team: Team) -> list[Row]:
    """All saved judges; two queries."""
    counted = dict(Label.objects.of(team).order_by().values_list("judge").annotate(Count("pk")))
    return [Row(one, counted.get(one.label_name, 0)) for one in Connection.objects.of(team)]


def by_name(*, team: Team) -> dict[str, Connection]:
    """The team's connections by the name that their labels give their judge; of several alike the first."""
    found: dict[str, Connection] = {}
    for connection in Connection.objects.of(team):
        found.setdefault(connection.label_name, connection)
    return found
