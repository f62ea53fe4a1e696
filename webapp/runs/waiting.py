"""The order in which workers take queued stages, and the place of each waiting run in it.

The oldest run goes first, unless its team moved it. All of this is read from the rows: a message to a queue only says
that there is work.
"""

from __future__ import annotations

from collections import Counter

from django.db.models import BigIntegerField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from webapp.accounts.models import Team
from webapp.runs.models import Run, RunStage, Stage

S = Stage.Status
ORDER = Coalesce("place", "id", output_field=BigIntegerField())
_ORDER_OF_RUN = Coalesce("run__place", "run_id", output_field=BigIntegerField())


def takeable(queue: str) -> QuerySet[RunStage]:
    """The stages that a free worker of this queue may take, first things first; one for each run that uses them."""
    uses = RunStage.objects.filter(
        Q(stage__locked_until=None) | Q(stage__locked_until__lte=timezone.now()), run__status=Run.Status.RUNNING,
        run__paused=False, stage__status=S.QUEUED, stage__queue=queue).annotate(order=_ORDER_OF_RUN)
    if queue == Stage.Queue.GPU:
        return uses.order_by("order", "position")
    # Labels may take hours at the pace of their judge: a run that has none at work here goes before another's second.
    at_work = RunStage.objects.filter(run=OuterRef("run_id"), stage__status=S.RUNNING, stage__queue=queue)
    return uses.annotate(is_served=Exists(at_work)).order_by("is_served", "order", "position")


def places() -> dict[int, int]:
    """The place of every run that waits, 1 for the next, in two queries. Runs of all teams count, by queue."""
    uses = RunStage.objects.filter(run__status=Run.Status.RUNNING)
    at_work = set(uses.filter(stage__status=S.RUNNING).values_list("run_id", flat=True))
    queued = uses.filter(run__paused=False, stage__status=S.QUEUED).annotate(order=_ORDER_OF_RUN)
    ahead: Counter[str] = Counter()
    place: dict[int, int] = {}
    for run, queue, _ in queued.order_by("order").values_list("run_id", "stage__queue", "order").distinct():
        if run not in at_work:
            ahead[queue] += 1
            place[run] = min(place.get(run, ahead[queue]), ahead[queue])
    return place


def team_order(team: Team) -> list[int]:
    """The team's unfinished runs in the order in which they go on, without those that are paused."""
    runs = Run.objects.of(team).filter(status=Run.Status.RUNNING, paused=False)
    return list(runs.order_by(ORDER).values_list("pk", flat=True))
