"""What stands beside people's board: one principle's votes, length taken out, the rewards' board, and agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Length

from training.quality.bradley_terry import Vote
from training.quality.intervals import wilson_interval
from training.quality.style_control import LengthVote, with_length
from webapp.arena.boards import Board, arranged, board_of
from webapp.arena.models import Arena, ArenaAnswer, Ballot, Entrant, PrincipleVote
from webapp.arena.selectors import VOTED, agreement_of
from webapp.arena.serving import score_of
from webapp.labels.agreement import Agreement
from webapp.principles.models import Principle


@dataclass(frozen=True)
class VotedPair:
    """A vote on two answers, by the places of their policies, with what is known of the answers."""

    vote: Vote
    reward_first: float | None
    reward_second: float | None
    length_first: int
    length_second: int

    @property
    def length_difference(self) -> float:
        """From -1 to 1: the difference of the lengths over their sum."""
        return (self.length_first - self.length_second) / max(1, self.length_first + self.length_second)


@dataclass(frozen=True)
class RewardsBoard:
    """The board that the rewards of the same pairs give, and how far people agree with it."""

    board: Board
    agreement: Agreement


def voted_pairs(arena: Arena, entrants: Sequence[Entrant], principle: Principle | None = None) -> list[VotedPair]:
    """Every vote, overall or on one principle, whose scores are then the rewards; one query."""
    place = {entrant.pk: index for index, entrant in enumerate(entrants)}
    if principle is None:
        votes, prefix, outcome = Ballot.objects.filter(pairing__arena=arena, outcome__in=VOTED), "", "outcome"
    else:
        votes = PrincipleVote.objects.filter(  # type: ignore[assignment]
            ballot__pairing__arena=arena, principle=principle, ballot__outcome__in=VOTED)
        prefix, outcome = "ballot__", "side"
    answers = ArenaAnswer.objects.filter(prompt=OuterRef(f"{prefix}pairing__prompt")).annotate(length=Length("text"))
    score = "reward" if principle is None else "scores"
    sides = {f"{column}_{side}": Subquery(
                answers.filter(entrant=OuterRef(f"{prefix}pairing__{side}")).values(column)[:1])
             for column in (score, "length") for side in ("first", "second")}
    rows = votes.annotate(**sides).order_by("pk").values_list(
        f"{prefix}pairing__first", f"{prefix}pairing__second", outcome, f"{prefix}swapped", *sides)
    name = principle.name if principle else None
    return [VotedPair(Vote(place[first], place[second], score_of(choice, swapped)), _score(score_a, name),
                      _score(score_b, name), length_a or 0, length_b or 0)
            for first, second, choice, swapped, score_a, score_b, length_a, length_b in rows]


def _score(value: object, principle: str | None) -> float | None:
    """A reward as it is, or one principle's score out of all."""
    if principle is not None:
        value = value.get(principle) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def people_board(entrants: Sequence[Entrant], pairs: Sequence[VotedPair]) -> Board:
    return board_of(entrants, [(pair.vote, 1) for pair in pairs])


def board_without_length(
    entrants: Sequence[Entrant], pairs: Sequence[VotedPair],
) -> tuple[Board, tuple[float, float, float]]:  # fmt: skip
    """People's board with length taken out, and how often an answer of twice the length wins at equal strength, with
    the interval of that."""
    votes = [pair.vote for pair in pairs]
    strengths, length = with_length([LengthVote(*pair.vote, pair.length_difference) for pair in pairs], len(entrants))
    low, middle, high = (1 / (1 + math.exp(-value / 3)) for value in (length[1], length[0], length[2]))
    return arranged(entrants, votes, strengths), (middle, low, high)


def rewards_board(entrants: Sequence[Entrant], pairs: Sequence[VotedPair]) -> RewardsBoard | None:
    """The board of the rewards on the pairs that people voted on. None: no pair has both rewards."""
    scored = [(pair, pair.reward_first, pair.reward_second) for pair in pairs
              if pair.reward_first is not None and pair.reward_second is not None]
    if not scored:
        return None
    votes = [(Vote(pair.vote.first, pair.vote.second, 0.5 if first == second else float(first > second)), 1)
             for pair, first, second in scored]
    return RewardsBoard(board_of(entrants, votes),
                        agreement_of([(pair.vote.score, first, second) for pair, first, second in scored]))


@dataclass(frozen=True)
class PeopleAgreement:
    """How often two people who voted on the same pair named the same winner, of those who both named one."""

    same: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.same, self.n)

    @property
    def raw(self) -> float:
        return self.same / self.n


def people_agreement(arena: Arena) -> PeopleAgreement | None:
    """Over the pairs that several people voted on; one query. None: there is none."""
    shared = (Ballot.objects.filter(pairing__arena=arena, outcome__in=VOTED).values("pairing")
              .annotate(people=Count("pk")).filter(people__gt=1).order_by().values("pairing"))
    scores: dict[int, list[float]] = {}
    for pairing, outcome, swapped in Ballot.objects.filter(pairing__in=shared, outcome__in=VOTED).values_list(
            "pairing", "outcome", "swapped"):
        scores.setdefault(pairing, []).append(score_of(outcome, swapped))
    same = [a == b for votes in scores.values() for a, b in combinations(votes, 2) if 0.5 not in (a, b)]
    return PeopleAgreement(sum(same), len(same)) if same else None
