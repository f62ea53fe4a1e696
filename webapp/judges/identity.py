"""Which names of labels mean one judge to a team: its own, and those that a person said are the same judge.

A judge is its model at its address (`training.judges.identity`). Where a server has moved, or labels are from before
addresses were noted, a person may say that two names are one judge; labels keep the name under which they were bought.
"""

from __future__ import annotations

from django.db import transaction

from training import config
from training.judges.identity import judge_name, unplaced_name
from webapp.accounts.models import Team
from webapp.judges.models import Connection, SameJudge
from webapp.labels.models import Label


def label_names(*, team_id: int, judge: config.JudgeSettings) -> list[str]:
    """The names of labels that are this judge's, its own first. One query."""
    own = judge_name(judge)
    group = SameJudge.objects.filter(team=team_id, name=own).values("group")
    return [own, *SameJudge.objects.filter(team=team_id, group__in=group).exclude(name=own).order_by("pk").values_list(
        "name", flat=True)]


@transaction.atomic
def say_same_judge(*, team: Team, names: tuple[str, str]) -> None:
    """Take two names for one judge from now on, with all that either was the same as before."""
    first, second = names
    if first == second:
        return
    groups = dict(SameJudge.objects.of(team).filter(name__in=names).values_list("name", "group"))
    group = groups.get(first) or groups.get(second) or first
    SameJudge.objects.of(team).filter(group__in=groups.values()).update(group=group)
    for name in names:
        SameJudge.objects.update_or_create(team=team, name=name, defaults={"group": group})


def unclaimed_labels(connection: Connection) -> int:
    """How many labels the team has of the connection's model from before servers were noted, if nobody's yet."""
    name = unplaced_name(connection.settings()) if connection.model else ""
    if not name or SameJudge.objects.filter(team=connection.team_id, name=name).exists():
        return 0
    return Label.objects.filter(team=connection.team_id, judge=name).count()


def claim_labels(connection: Connection) -> int:
    """Say that those labels are this judge's; how many there were. Once they are somebody's, nobody else gets them."""
    count = unclaimed_labels(connection)
    if count:
        judge = connection.settings()
        say_same_judge(team=connection.team, names=(judge_name(judge), unplaced_name(judge)))
    return count
