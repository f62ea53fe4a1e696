"""Changes to heads to heads: started, claimed by one worker, cancelled, started again. What was bought stays."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training.text import storable
from webapp.accounts.models import Team, User
from webapp.celery import JOBS, send
from webapp.runs.head_to_head.planning import Plan
from webapp.runs.models import HeadToHead, HeadToHeadSide

S = HeadToHead.Status
TASK = "workers.head_to_head"
LOST = timedelta(minutes=2)  # without a sign of life from its worker it is queued again
OTHER_BUYERS: list[Callable[[int], bool]] = []
"""Of higher apps: whether something else of a team, by its key, is buying verdicts into the same ledger."""


@transaction.atomic
def head_to_head_start(*, team: Team, user: User, plan: Plan) -> HeadToHead:
    judge, title = plan.judge
    contest = HeadToHead.objects.create(
        team=team, created_by=user, judge=judge.model_dump(mode="json"), judge_title=title, prompts=plan.prompts,
        questions=[question.model_dump(mode="json") for question in plan.chosen], with_base=plan.with_base,
        total=plan.verdicts, done=plan.known)
    HeadToHeadSide.objects.bulk_create(HeadToHeadSide(head_to_head=contest, run=run, place=place, title=run.name)
                                       for place, run in enumerate(plan.runs))
    send(TASK, contest.pk, queue=JOBS)
    return contest


def head_to_head_cancel(*, contest: HeadToHead) -> bool:
    """Its worker ends after the questions that it is asking. Returns False if it had ended."""
    running = HeadToHead.objects.filter(pk=contest.pk, status__in=[S.QUEUED, S.RUNNING])
    return bool(running.update(status=S.CANCELLED, claim=""))


@transaction.atomic
def head_to_head_again(*, contest: HeadToHead) -> bool:
    """Queue a failed or cancelled one again: it asks for the verdicts that are missing."""
    changed = HeadToHead.objects.filter(pk=contest.pk, status__in=[S.FAILED, S.CANCELLED]).update(
        status=S.QUEUED, cause="", remedy="", claim="", seen_at=timezone.now())
    if changed:
        send(TASK, contest.pk, queue=JOBS)
    return bool(changed)


def head_to_heads_send_again() -> None:
    """Queue those again whose worker or whose message was lost."""
    lost = HeadToHead.objects.filter(status__in=[S.QUEUED, S.RUNNING], seen_at__lt=timezone.now() - LOST)
    for key in lost.values_list("pk", flat=True):
        with transaction.atomic():
            if lost.filter(pk=key).update(status=S.QUEUED, claim="", seen_at=timezone.now()):
                send(TASK, key, queue=JOBS)


@transaction.atomic
def head_to_head_claim(*, head_to_head_id: int) -> HeadToHead | None:
    """For the worker that is the first to take it, else None. A team has one at a time, or two that share a question
    would both buy its verdict; the others stay queued, and the next one is sent when this one ends."""
    contest = HeadToHead.objects.filter(pk=head_to_head_id, status=S.QUEUED).first()
    if contest is None:
        return None
    Team.objects.select_for_update().get(pk=contest.team_id)
    if HeadToHead.objects.filter(team=contest.team_id, status=S.RUNNING).exists():
        return None
    if any(is_buying(contest.team_id) for is_buying in OTHER_BUYERS):
        return None
    claim = uuid.uuid4().hex
    taken = HeadToHead.objects.filter(pk=contest.pk, status=S.QUEUED).update(status=S.RUNNING, claim=claim,
                                                                            seen_at=timezone.now())
    return HeadToHead.objects.select_related("team").get(pk=contest.pk) if taken else None


def head_to_head_seen(*, contest: HeadToHead, done: int, total: int) -> bool:
    """The worker is still at work. Returns False if it should stop: canceled, or taken over by another worker."""
    return bool(_of_worker(contest).update(done=done, total=total, seen_at=timezone.now()))


def head_to_head_done(*, contest: HeadToHead, result: dict[str, Any]) -> None:
    _of_worker(contest).update(status=S.DONE, result=result)
    _send_next(contest)


def head_to_head_failed(*, contest: HeadToHead, cause: str, remedy: str) -> None:
    _of_worker(contest).update(status=S.FAILED, cause=storable(cause), remedy=storable(remedy))
    _send_next(contest)


def _of_worker(contest: HeadToHead) -> Any:
    return HeadToHead.objects.filter(Q(claim=contest.claim), pk=contest.pk, status=S.RUNNING)


def _send_next(contest: HeadToHead) -> None:
    head_to_head_send_next(team_id=contest.team_id)


def head_to_head_send_next(*, team_id: int) -> None:
    """Send the first that waits for something of its team to end."""
    waiting = HeadToHead.objects.filter(team=team_id, status=S.QUEUED).order_by("pk").first()
    if waiting is not None:
        send(TASK, waiting.pk, queue=JOBS)
