"""What the arena's pages read: the list, the pairs on a screen, a person's summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, F, OuterRef, QuerySet, Subquery

from training.dialogue import Dialogue
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, ArenaAnswer, ArenaPrompt, Ballot, Entrant
from webapp.arena.serving import OUT, score_of
from webapp.labels.agreement import Agreement

BREAK = timedelta(minutes=5)  # a longer pause between two votes begins another session
LAST = 500  # votes that a summary is made of
VOTED = (OUT.A, OUT.B, OUT.TIE, OUT.BAD)


def arenas_of(team: Team) -> QuerySet[Any]:
    """The team's arenas with `policies`, `prompts_total` and `votes`; one query."""
    def counted(rows: QuerySet[Entrant] | QuerySet[ArenaPrompt] | QuerySet[Ballot], arena: str) -> Subquery:
        of_arena = rows.filter(**{arena: OuterRef("pk")}).order_by()
        return Subquery(of_arena.annotate(none=F(arena)).values("none").annotate(n=Count("pk")).values("n"))

    return Arena.objects.of(team).select_related("created_by").annotate(
        policies=counted(Entrant.objects.all(), "arena"), prompts_total=counted(ArenaPrompt.objects.all(), "arena"),
        votes=counted(Ballot.objects.filter(outcome__in=VOTED), "pairing__arena"))


def open_arenas(team: Team) -> QuerySet[Any]:
    """The arenas in which one can vote."""
    return Arena.objects.of(team).filter(is_open=True, status=Arena.Status.READY)


@dataclass(frozen=True)
class ShownPair:
    """A pair as its voter sees it: no names, no rewards."""

    ballot: int
    prompt: Dialogue
    a: str
    b: str


def shown_pairs(ballots: Sequence[Ballot]) -> list[ShownPair]:
    """The texts of ballots in their order; one query."""
    answers = ArenaAnswer.objects.filter(prompt__in={ballot.pairing.prompt_id for ballot in ballots})
    texts = {(answer.prompt_id, answer.entrant_id): answer.text for answer in answers}
    shown = []
    for ballot in ballots:
        pairing = ballot.pairing
        sides = [texts.get((pairing.prompt_id, entrant), "") for entrant in (pairing.first_id, pairing.second_id)]
        a, b = reversed(sides) if ballot.swapped else sides
        shown.append(ShownPair(ballot.pk, pairing.prompt.prompt, a, b))
    return shown


@dataclass(frozen=True)
class Summary:
    """What one person did in an arena."""

    votes: int
    in_session: int
    pace: float | None  # votes per minute in this session
    with_rewards: Agreement


def summary_of(*, arena: Arena, user: User) -> Summary:
    """A person's votes, the pace of the session, and how often the rewards name the same winner; two queries."""
    mine = Ballot.objects.filter(pairing__arena=arena, user=user, outcome__in=VOTED)
    rows = list(with_rewards(mine).order_by("-voted_at")
                .values_list("outcome", "swapped", "voted_at", "reward_first", "reward_second")[:LAST])
    session = 0
    for later, earlier in zip(rows, rows[1:], strict=False):
        if later[2] - earlier[2] > BREAK:
            break
        session += 1
    seconds = (rows[0][2] - rows[session][2]).total_seconds() if session else 0
    return Summary(len(rows) if len(rows) < LAST else mine.count(), session + bool(rows),
                   60 * session / seconds if seconds else None,
                   agreement_of([(score_of(row[0], row[1]), row[3], row[4]) for row in rows]))


def with_rewards(ballots: QuerySet[Ballot]) -> QuerySet[Any]:
    """Ballots with `reward_first` and `reward_second` of the answers that they compare."""
    answers = ArenaAnswer.objects.filter(prompt=OuterRef("pairing__prompt"))
    return ballots.annotate(
        reward_first=Subquery(answers.filter(entrant=OuterRef("pairing__first")).values("reward")[:1]),
        reward_second=Subquery(answers.filter(entrant=OuterRef("pairing__second")).values("reward")[:1]))


def agreement_of(rows: Sequence[tuple[float, float | None, float | None]]) -> Agreement:
    """How often people and rewards name the same winner; ties of either and answers without a reward are left out.

    Args:
        rows: the person's score of the first answer (1, 1/2, 0) and the rewards of both.
    """
    counts = {(person, reward): 0 for person in (True, False) for reward in (True, False)}
    for score, first, second in rows:
        if score != 0.5 and first is not None and second is not None and first != second:
            counts[score == 1, first > second] += 1
    return Agreement(counts[True, True], counts[True, False], counts[False, True], counts[False, False])
