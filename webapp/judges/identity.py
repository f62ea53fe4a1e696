"""Which judge names on labels mean the same judge: its own name, and names that a person declared the same.

A judge is its model at its address (`training.judges.identity`). Where a server has moved, or labels are from before
addresses were recorded, a person may declare two names the same judge; labels keep the name they were bought under.
"""

from __future__ import annotations

from django.db import transaction

from training import config
from training.judges.identity import judge_name, unplaced_name
from webapp.accounts.models import Team
from webapp.judges.models import Connection, SameJudge
from webapp.labels.models import Label


def label_names(*, team_id: int, judge: config.JudgeSettings) -> list[str]:
    """All judge names on labels that mean this judge, its own first. One query."""
    own = judge_name(judge)
    group = SameJudge.objects.filter(team=team_id, name=own).values("group")
    return [own, *SameJudge.objects.filter(team=team_id, group__in=group).exclude(name=own).order_by("pk").values_list(
        "name", flat=True)]


@transaction.atomic
def say_same_judge(*, team: Team, names: tuple[str, str]) -> None:
    """Declare two names, and all names already declared the same as either, to be one judge."""
    first, second = names
    if first == second:
        return
    groups = dict(SameJudge.objects.of(team).filter(name__in=names).values_list("name", "group"))
    group = groups.get(first) or groups.get(second) or first
    SameJudge.objects.of(team).filter(group__in=groups.values()).update(group=group)
    for name in names:
        SameJudge.objects.update_or_create(team=team, name=name, defaults={"group": group})


def unclaimed_labels(connection: Connection) -> int:
    """How many of the team's labels by the connection's model name no server and are not yet assigned to a judge."""
    name = unplaced_name(connection.settings()) if connection.model else ""
    if not name or SameJudge.objects.filter(team=connection.team_id, name=name).exists():
        return 0
    return Label.objects.filter(team=connection.team_id, judge=name).count()


def claim_labels(connection: Connection) -> int:
    """Assign those labels to this judge and return their number. They can be assigned only once."""
    count = unclaimed_labels(connection)
    if count:
        judge = connection.settings()
        say_same_judge(team=connection.team, names=(judge_name(judge), unplaced_name(judge)))
    return count
