"""Which pairs a person gets: those meant for several people first, then a new one where a vote tells most.

All of it happens under a lock of the arena's row, so that two people at once, or two tabs of one, never both take one
place.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from training.quality.bradley_terry import Floats
from training.quality.pair_choice import worth_of_pairs
from webapp.accounts.models import User
from webapp.arena.models import Arena, ArenaAnswer, ArenaPrompt, Ballot, Pairing

AHEAD = 3  # pairs on the page: the one that is voted on, and the next ones
CANDIDATES = 20  # prompts among which one is drawn: those that were shown least
OUT = Ballot.Outcome


@transaction.atomic
def ballots_for(*, arena: Arena, user: User, ahead: int = AHEAD) -> list[Ballot]:
    """The person's open ballots, the oldest first, filled up to `ahead`. Empty: this person has seen every pair."""
    Arena.objects.select_for_update().get(pk=arena.pk)
    open_ballots = list(Ballot.objects.filter(pairing__arena=arena, user=user, outcome=OUT.OPEN)
                        .select_related("pairing__prompt"))
    if not arena.is_open or arena.status != Arena.Status.READY:
        return []
    while len(open_ballots) < ahead:
        pairing = _for_several(arena, user) or _new_pairing(arena) or _unseen(arena, user)
        if pairing is None:
            break
        open_ballots.append(Ballot.objects.create(pairing=pairing, user=user, swapped=random.random() < 0.5))
        Arena.objects.filter(pk=arena.pk).update(served=F("served") + 1)
    return open_ballots


def _not_seen_by(arena: Arena, user: User) -> QuerySet[Any]:
    """Pairings that this person has not had, with `shown`: how many people have got each, and have not skipped it."""
    seen = Exists(Ballot.objects.filter(pairing=OuterRef("pk"), user=user))
    return Pairing.objects.filter(~seen, arena=arena).select_related("prompt").annotate(
        shown=Count("ballots", filter=~Q(ballots__outcome=OUT.SKIPPED)))


def _for_several(arena: Arena, user: User) -> Pairing | None:
    """A pair that is meant for more people than have got it, those who skipped it not counted."""
    return _not_seen_by(arena, user).filter(shown__lt=F("people")).order_by("pk").first()


def _unseen(arena: Arena, user: User) -> Pairing | None:
    """Once every pair was shown to somebody: the one that the fewest people have seen."""
    return _not_seen_by(arena, user).order_by("shown", "pk").first()


def _new_pairing(arena: Arena) -> Pairing | None:
    """A pair of answers that nobody has seen. None: there is none left."""
    for first, second in _pairs_of_policies(arena):
        prompt = _prompt_for(arena, first, second)
        if prompt is not None:
            number = arena.pairings.count() + 1
            several = arena.overlap_every > 0 and number % arena.overlap_every == 0
            return Pairing.objects.create(arena=arena, prompt=prompt, first_id=first, second_id=second,
                                          people=arena.overlap_people if several else 1)
    return None


def _pairs_of_policies(arena: Arena) -> Iterator[tuple[int, int]]:
    """Pairs of entrants that still have an unseen prompt in common, the one to compare next first."""
    keys = list(arena.entrants.order_by("pk").values_list("pk", flat=True))
    wins, waiting, paired = tallies(arena, keys)
    left = _common_prompts(arena, keys) - paired
    worth = worth_of_pairs(wins, waiting) if arena.choice == Arena.Choice.ACTIVE else np.ones((len(keys), len(keys)))
    pairs = [(i, j) for i in range(len(keys)) for j in range(i + 1, len(keys)) if left[i, j] > 0]
    random.shuffle(pairs)  # among equals by chance
    for i, j in sorted(pairs, key=lambda pair: -round(float(worth[pair]), 9)):
        yield keys[i], keys[j]


def tallies(arena: Arena, keys: list[int]) -> tuple[Floats, Floats, Floats]:
    """By entrants: wins with ties half, ballots without a vote, and pairings; each [entrants, entrants]."""
    place = {key: index for index, key in enumerate(keys)}
    wins, waiting, paired = (np.zeros((len(keys), len(keys))) for _ in range(3))
    counted = (Ballot.objects.filter(pairing__arena=arena).exclude(outcome=OUT.SKIPPED)
               .values_list("pairing__first", "pairing__second", "outcome", "swapped").annotate(n=Count("pk")))
    for first, second, outcome, swapped, n in counted.order_by():
        i, j = place[first], place[second]
        if outcome == OUT.OPEN:
            waiting[i, j] += n
            waiting[j, i] += n
            continue
        score = score_of(outcome, swapped)
        wins[i, j] += n * score
        wins[j, i] += n * (1 - score)
    for first, second, n in (arena.pairings.values_list("first", "second").annotate(n=Count("pk")).order_by()):
        paired[place[first], place[second]] = n
    return wins, waiting, paired


def score_of(outcome: str, swapped: bool) -> float:
    """1 where the pairing's first entrant won, 0 where the second did; a tie and "both bad" are 1/2."""
    if outcome in (OUT.TIE, OUT.BAD):
        return 0.5
    return float((outcome == OUT.A) != swapped)


def _common_prompts(arena: Arena, keys: list[int]) -> Floats:
    """How many prompts two entrants both answered: [entrants, entrants]."""
    answers = ArenaAnswer.objects.filter(entrant__arena=arena)
    prompts = arena.prompts.count()
    if answers.count() == prompts * len(keys):
        return np.full((len(keys), len(keys)), float(prompts))
    common, place = np.zeros((len(keys), len(keys))), {key: index for index, key in enumerate(keys)}
    pairs = answers.values_list("entrant", "prompt__answers__entrant").annotate(n=Count("pk")).order_by()
    for first, second, n in pairs:
        common[place[first], place[second]] = n
    return common


def _prompt_for(arena: Arena, first: int, second: int) -> ArenaPrompt | None:
    """A prompt that both answered and on which they were not compared: one of those that were shown least."""
    shown = Count("pairings", distinct=True)
    compared = Pairing.objects.filter(prompt=OuterRef("pk"), first=first, second=second)
    answered = ArenaAnswer.objects.filter(prompt=OuterRef("pk"))
    prompts = list(arena.prompts.filter(Exists(answered.filter(entrant=first)), Exists(answered.filter(entrant=second)),
                                        ~Exists(compared)).annotate(shown=shown).order_by("shown", "pk")[:CANDIDATES])
    least = [prompt for prompt in prompts if prompt.shown == prompts[0].shown]
    return random.choice(least) if least else None
