"""What changes an arena: made from a file of answers, opened, closed, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from training.dialogue import Dialogue
from training.run.artifacts import digest_of
from webapp.accounts.models import Team, User
from webapp.arena.answer_files import GivenAnswer
from webapp.arena.models import Arena, ArenaAnswer, ArenaPrompt, Entrant
from webapp.principles.models import Principle


@dataclass(frozen=True)
class PairSettings:
    """How pairs are chosen and shown: the settings of an arena that have to do with voting."""

    choice: str = Arena.Choice.ACTIVE
    overlap_every: int = 5
    overlap_people: int = 2
    principles: Sequence[Principle] = ()


@transaction.atomic
def arena_import(*, team: Team, user: User, name: str, answers: Sequence[GivenAnswer], pairs: PairSettings) -> Arena:
    """An arena of the answers of a file, ready to vote on. The answers are checked (`answer_files.checked`)."""
    arena = new_arena(team=team, user=user, name=name, pairs=pairs)
    names = dict.fromkeys(answer.policy for answer in answers)
    entrants = {policy: Entrant.objects.create(arena=arena, name=policy) for policy in names}
    prompts = add_prompts(arena=arena, prompts=[answer.prompt for answer in answers])
    ArenaAnswer.objects.bulk_create(
        (ArenaAnswer(entrant=entrants[answer.policy], prompt=prompts[digest_of(answer.prompt)], text=answer.text,
                     reward=answer.reward, scores=answer.scores) for answer in answers), batch_size=500)
    return arena


def new_arena(*, team: Team, user: User, name: str, pairs: PairSettings) -> Arena:
    arena = Arena.objects.create(team=team, created_by=user, name=name, choice=pairs.choice,
                                 overlap_every=pairs.overlap_every, overlap_people=pairs.overlap_people)
    arena.principles.set(pairs.principles)
    return arena


def add_prompts(*, arena: Arena, prompts: Sequence[Dialogue]) -> dict[str, ArenaPrompt]:
    """Store prompts, each once; returns them by digest."""
    distinct = {digest_of(prompt): prompt for prompt in prompts}
    ArenaPrompt.objects.bulk_create(
        (ArenaPrompt(arena=arena, position=position, prompt=prompt, digest=digest)
         for position, (digest, prompt) in enumerate(distinct.items(), 1)), batch_size=500)
    return {prompt.digest: prompt for prompt in arena.prompts.all()}


def arena_open(*, arena: Arena, is_open: bool) -> None:
    Arena.objects.filter(pk=arena.pk).update(is_open=is_open)


def arena_delete(*, arena: Arena) -> None:
    """Delete an arena with its answers and votes."""
    arena.delete()
