"""The job that makes an arena's answers: asked for, claimed by one worker, restarted, canceled.

What is stored is not made again: a job asks for the answers that are missing.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training.dialogue import Dialogue
from training.text import storable
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, ArenaAnswer, Entrant
from webapp.arena.services import PairSettings, add_prompts, new_arena
from webapp.celery import send
from webapp.datasets.models import Dataset, DatasetText
from webapp.playground.selectors import PolicyChoice
from webapp.runs.models import Run, Stage

S = Arena.Status
TASK = "workers.answer_arena"
LOST = timedelta(minutes=2)  # without a sign of life from its worker a job is queued again


@transaction.atomic
def arena_create(*, team: Team, user: User, name: str, policies: Sequence[PolicyChoice], prompts: Sequence[Dialogue],
                 pairs: PairSettings, temperature: float, max_new_tokens: int, seed: int, scorer: Run | None) -> Arena:
    """An arena whose policies will answer the prompts in the background."""
    arena = new_arena(team=team, user=user, name=name, pairs=pairs)
    arena.temperature, arena.max_new_tokens, arena.seed, arena.scorer = temperature, max_new_tokens, seed, scorer
    arena.status = S.QUEUED
    arena.save()
    Entrant.objects.bulk_create(Entrant(arena=arena, name=choice.title[:300], key=choice.key) for choice in policies)
    add_prompts(arena=arena, prompts=prompts)
    send(TASK, arena.pk, queue=str(Stage.Queue.GPU))
    return arena


def prompts_of(*, dataset: Dataset, count: int, seed: int | None) -> list[Dialogue]:
    """The first prompts of a dataset, or with a seed as many drawn at random."""
    rows = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    if seed is None:
        return list(rows.values_list("prompt", flat=True)[:count])
    keys = list(rows.values_list("pk", flat=True))
    chosen = random.Random(seed).sample(keys, min(count, len(keys)))
    by_key = dict(rows.filter(pk__in=chosen).values_list("pk", "prompt"))
    return [by_key[key] for key in chosen]


@transaction.atomic
def answers_again(*, arena: Arena) -> bool:
    """Queue a failed or canceled job again; the answers that it made stay. Returns False if there is nothing to do."""
    changed = Arena.objects.filter(pk=arena.pk, status__in=[S.FAILED, S.STOPPED]).update(
        status=S.QUEUED, cause="", remedy="", claim="", seen_at=timezone.now())
    if changed:
        send(TASK, arena.pk, queue=str(Stage.Queue.GPU))
    return bool(changed)


def answers_cancel(*, arena: Arena) -> bool:
    """Cancel the job: a worker that has it ends within a second or two. The answers that it made stay."""
    running = Arena.objects.filter(pk=arena.pk, status__in=[S.QUEUED, S.RUNNING])
    return bool(running.update(status=S.STOPPED, claim=""))


def answers_send_again() -> None:
    """Queue the jobs again whose worker or whose message was lost."""
    lost = Arena.objects.filter(status__in=[S.QUEUED, S.RUNNING], seen_at__lt=timezone.now() - LOST)
    for key in lost.values_list("pk", flat=True):
        with transaction.atomic():
            if lost.filter(pk=key).update(status=S.QUEUED, claim="", seen_at=timezone.now()):
                send(TASK, key, queue=str(Stage.Queue.GPU))


def answers_claim(*, arena_id: int) -> Arena | None:
    """The arena for the worker that is the first to take it, else None."""
    claim = uuid.uuid4().hex
    taken = Arena.objects.filter(pk=arena_id, status=S.QUEUED).update(status=S.RUNNING, claim=claim,
                                                                     seen_at=timezone.now())
    return Arena.objects.select_related("team", "scorer").get(pk=arena_id) if taken else None


def answers_seen(*, arena: Arena) -> bool:
    """The worker is at work. Returns False where it is to stop: the job was canceled, or another worker has it."""
    return bool(_claimed(arena).update(seen_at=timezone.now()))


def answers_store(*, arena: Arena, answers: Iterable[Mapping[str, Any]]) -> None:
    """Store answers as `training.policy_answers` writes them; those that are stored already stay as they are."""
    ArenaAnswer.objects.bulk_create(
        (ArenaAnswer(entrant_id=answer["policy"], prompt_id=answer["prompt"], text=storable(answer["text"]),
                     reward=answer.get("reward"), scores=answer.get("scores", {})) for answer in answers),
        batch_size=500, ignore_conflicts=True)


def answers_done(*, arena: Arena) -> None:
    _claimed(arena).update(status=S.READY, claim="")


def answers_failed(*, arena: Arena, cause: str, remedy: str) -> None:
    _claimed(arena).update(status=S.FAILED, claim="", cause=storable(cause), remedy=storable(remedy))


def missing_prompts(entrant: Entrant) -> list[int]:
    """The keys of the prompts that a policy has not answered."""
    return list(entrant.arena.prompts.exclude(answers__entrant=entrant).values_list("pk", flat=True))


def progress_of(arena: Arena) -> tuple[int, int]:
    """How many answers there are, and how many there will be."""
    return (ArenaAnswer.objects.filter(entrant__arena=arena).count(), arena.entrants.count() * arena.prompts.count())


def _claimed(arena: Arena) -> Any:
    return Arena.objects.filter(Q(claim=arena.claim), pk=arena.pk, status=S.RUNNING)
