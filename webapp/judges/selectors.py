"""Queries of the pages about saved judges."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count

from training import config
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.judges.identity import label_names
from webapp.judges.keys import saved_number
from webapp.judges.models import Connection, SameJudge
from webapp.labels import label_quality
from webapp.labels.answers import answers_of
from webapp.labels.models import Label
from webapp.labels.prices import Price


@dataclass(frozen=True)
class ConnectionRow:
    """A judge as the list shows it, with the number of the team's labels from it."""

    connection: Connection
    labels: int


def connection_rows(*, team: Team) -> list[ConnectionRow]:
    """All saved judges; three queries."""
    counted = dict(Label.objects.of(team).order_by().values_list("judge").annotate(Count("pk")))
    groups = _groups(team)
    rows = []
    for connection in Connection.objects.of(team):
        names = groups.get(connection.label_name, [connection.label_name])
        rows.append(ConnectionRow(connection, sum(counted.get(name, 0) for name in names)))
    return rows


def lines_of(connection: Connection) -> list[label_quality.QualityLine]:
    """The quality of this judge's labels, by principle."""
    team = connection.team
    names = label_names(team_id=team.pk, judge=connection.settings())
    labels = Label.objects.of(team).filter(judge__in=names)
    prices = dict.fromkeys(names, connection.price) if connection.price else {}
    return label_quality.lines(label_quality.principles_of(team), answers_of(labels), labels, prices)


def prices_by_name(*, team: Team) -> dict[str, Price]:
    """Prices by the judge names on labels. Of several connections with one name, the first that has a price counts."""
    prices: dict[str, Price] = {}
    groups = _groups(team)
    for connection in Connection.objects.of(team):
        if price := connection.price:
            for name in groups.get(connection.label_name, [connection.label_name]):
                prices.setdefault(name, price)
    return prices


def _groups(team: Team) -> dict[str, list[str]]:
    """For each name that a person declared the same as others, all names of that judge."""
    members: dict[str, list[str]] = {}
    rows = list(SameJudge.objects.of(team).values_list("name", "group"))
    for name, group in rows:
        members.setdefault(group, []).append(name)
    return {name: members[group] for name, group in rows}


def saved_judge(team: Team, number: str) -> Connection | None:
    """The team's connection that a form names, or None."""
    key = row_key(number)
    return Connection.objects.of(team).filter(pk=key).first() if key is not None else None


def saved_judge_of(team: Team, judge: config.JudgeSettings) -> Connection | None:
    """The connection that a recipe's judge came from, as long as it still means the same judge."""
    if judge.kind == "rule":
        return None
    number = saved_number(judge.api_key_env)
    place = {"pk": number} if number else {"model": judge.model, "base_url": judge.base_url}
    candidates = Connection.objects.of(team).filter(**place)
    same = {"kind": judge.kind, "model": judge.model, "base_url": judge.base_url, "api_key_env": judge.api_key_env}
    return next((row for row in candidates if same.items() <= row.recipe_fields().items()), None)
