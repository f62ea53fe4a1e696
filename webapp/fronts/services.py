"""Changes to fronts: started, claimed by one worker, cancelled, started again. Answers and bought verdicts stay.

A front answers first, on the queue of the workers that load models, and is judged then, on that of short jobs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training.text import storable
from webapp.accounts.models import Team, User
from webapp.celery import JOBS, send
from webapp.fronts.models import PointAnswer, PolicyFront, PolicyPoint
from webapp.fronts.planning import Plan
from webapp.runs.head_to_head.services import head_to_head_send_next
from webapp.runs.models import HeadToHead, Stage

S = PolicyFront.Status
ANSWERS, VERDICTS = "workers.front_answers", "workers.front_verdicts"
LOST = timedelta(minutes=2)  # without a sign of life from its worker it is queued again
UNDER_WAY = [S.QUEUED, S.ANSWERING, S.JUDGING]


@transaction.atomic
def front_start(*, team: Team, user: User, plan: Plan) -> PolicyFront:
    evaluate = plan.recipe.evaluate
    front = PolicyFront.objects.create(
        team=team, created_by=user, name=plan.name, run=plan.run, judge=plan.recipe.judge.model_dump(mode="json"),
        judge_title=plan.judge_title, questions=[question.model_dump(mode="json") for question in plan.questions],
        prompts=plan.prompts, temperature=evaluate.temperature, max_new_tokens=evaluate.max_new_tokens,
        seed=plan.recipe.seed, total=plan.verdicts)
    PolicyPoint.objects.bulk_create(PolicyPoint(
        front=front, place=place, kind=candidate.kind, label=candidate.label, mix=candidate.mix,
        parts=[[key, weight] for key, weight in candidate.parts],
        evaluation=plan.evaluations[place].stage if place in plan.evaluations else None)
        for place, candidate in enumerate(plan.candidates))
    _send(front)
    return front


def front_cancel(*, front: PolicyFront) -> bool:
    """Its worker ends within seconds, or after the questions that it is asking. Returns False if it had ended."""
    running = PolicyFront.objects.filter(pk=front.pk, status__in=UNDER_WAY)
    return bool(running.update(status=S.CANCELLED, claim=""))


@transaction.atomic
def front_again(*, front: PolicyFront) -> bool:
    """Queue a failed or cancelled one again: it makes the answers and buys the verdicts that are missing."""
    changed = PolicyFront.objects.filter(pk=front.pk, status__in=[S.FAILED, S.CANCELLED]).update(
        status=S.QUEUED, cause="", remedy="", claim="", seen_at=timezone.now())
    if changed:
        _send(front)
    return bool(changed)


def front_delete(*, front: PolicyFront) -> None:
    """Delete it with its answers. The verdicts that were bought stay in the team's ledger."""
    front.delete()


def fronts_send_again() -> None:
    """Queue those again whose worker or whose message was lost."""
    lost = PolicyFront.objects.filter(status__in=UNDER_WAY, seen_at__lt=timezone.now() - LOST)
    for front in lost:
        with transaction.atomic():
            if lost.filter(pk=front.pk).update(status=S.QUEUED, claim="", seen_at=timezone.now()):
                _send(front)


def front_claim_answers(*, front_id: int) -> PolicyFront | None:
    """For the worker that is the first to take it, else None."""
    return _claimed_as(S.ANSWERING, front_id)


@transaction.atomic
def front_claim_verdicts(*, front_id: int) -> PolicyFront | None:
    """For the worker that is the first to take one whose answers are there, else None. A team buys for one front or
    head to head at a time, or two that share a question would both buy its verdict; the others stay queued."""
    front = PolicyFront.objects.filter(pk=front_id, status=S.QUEUED).first()
    if front is None or missing_answers(front):
        return None
    Team.objects.select_for_update().get(pk=front.team_id)
    if is_buying(front.team_id) or HeadToHead.objects.filter(team=front.team_id,
                                                             status=HeadToHead.Status.RUNNING).exists():
        return None
    return _claimed_as(S.JUDGING, front_id)


def _claimed_as(status: str, front_id: int) -> PolicyFront | None:
    taken = PolicyFront.objects.filter(pk=front_id, status=S.QUEUED).update(
        status=status, claim=uuid.uuid4().hex, seen_at=timezone.now())
    return PolicyFront.objects.select_related("team", "run").get(pk=front_id) if taken else None


def front_seen(*, front: PolicyFront, **counts: int) -> bool:
    """The worker is still at work. Returns False if it should stop: cancelled, or taken over by another worker."""
    return bool(_of_worker(front).update(seen_at=timezone.now(), **counts))


def answers_store(*, answers: Iterable[Mapping[str, Any]]) -> None:
    """Store answers as `training.policy_answers` writes them; those that are stored already stay as they are."""
    PointAnswer.objects.bulk_create(
        (PointAnswer(point_id=answer["policy"], prompt=answer["prompt"], text=storable(answer["text"]))
         for answer in answers), batch_size=500, ignore_conflicts=True)


@transaction.atomic
def front_answered(*, front: PolicyFront) -> None:
    """Every answer is there: queue it for the judge."""
    if _of_worker(front).update(status=S.QUEUED, claim="", seen_at=timezone.now()):
        send(VERDICTS, front.pk, queue=JOBS)


def point_judged(*, point: PolicyPoint, outcomes: Mapping[str, list[float | None]]) -> None:
    point.outcomes = dict(outcomes)
    point.save(update_fields=["outcomes"])


def front_done(*, front: PolicyFront) -> None:
    _of_worker(front).update(status=S.DONE)
    _send_next(front)


def front_failed(*, front: PolicyFront, cause: str, remedy: str) -> None:
    _of_worker(front).update(status=S.FAILED, cause=storable(cause), remedy=storable(remedy))
    _send_next(front)


def missing_answers(front: PolicyFront) -> dict[int, list[int]]:
    """By point, the places of the prompts that its policy has not answered yet; in two queries."""
    points = PolicyPoint.objects.filter(front=front, evaluation=None, outcomes={})
    answered: dict[int, set[int]] = {pk: set() for pk in points.values_list("pk", flat=True)}
    for point, prompt in PointAnswer.objects.filter(point__in=list(answered)).values_list("point", "prompt"):
        answered[point].add(prompt)
    missing = {point: [place for place in range(front.prompts) if place not in places]
               for point, places in answered.items()}
    return {point: places for point, places in missing.items() if places}


def is_buying(team_id: int) -> bool:
    """Whether a front of the team is being judged."""
    return PolicyFront.objects.filter(team=team_id, status=S.JUDGING).exists()


def _of_worker(front: PolicyFront) -> Any:
    return PolicyFront.objects.filter(Q(claim=front.claim), pk=front.pk, status__in=[S.ANSWERING, S.JUDGING])


def _send(front: PolicyFront) -> None:
    if missing_answers(front):
        send(ANSWERS, front.pk, queue=str(Stage.Queue.GPU))
    else:
        send(VERDICTS, front.pk, queue=JOBS)


def _send_next(front: PolicyFront) -> None:
    """What waited for this one's verdicts: a front, a head to head."""
    waiting = PolicyFront.objects.filter(team=front.team_id, status=S.QUEUED).order_by("pk").first()
    if waiting is not None:
        _send(waiting)
    head_to_head_send_next(team_id=front.team_id)
