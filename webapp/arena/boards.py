"""Boards: policies by the strength that people's votes give them, with intervals, ranks and a win matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import Count

from training.quality.bradley_terry import Strengths, Vote, ranks_of, win_rates_of, with_intervals
from webapp.arena.models import Arena, Ballot, Entrant
from webapp.arena.selectors import VOTED
from webapp.arena.serving import score_of

LEAST_VOTES = 10  # below this a policy has no rank
NATS_TO_ELO = 400 / np.log(10)


@dataclass(frozen=True)
class BoardRow:
    """One policy of a board. Strengths are in points of Elo's scale: 400 points are odds of ten to one."""

    entrant: Entrant
    rank: int | None
    votes: int
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """How likely the policy of the row beats that of the column, and how many votes there are on the two."""

    rate: float | None
    votes: int


@dataclass(frozen=True)
class Board:
    """A board: its rows, the strongest first, and the win matrix in the order of the rows."""

    rows: list[BoardRow]
    matrix: list[tuple[BoardRow, list[Cell]]]
    votes: int
    ties: int


def people_votes(arena: Arena, entrants: Sequence[Entrant]) -> list[tuple[Vote, int]]:
    """People's votes on the answers overall, each kind with its count; one query."""
    place = {entrant.pk: index for index, entrant in enumerate(entrants)}
    counted = (Ballot.objects.filter(pairing__arena=arena, outcome__in=VOTED)
               .values_list("pairing__first", "pairing__second", "outcome", "swapped").annotate(n=Count("pk")))
    return [(Vote(place[first], place[second], score_of(outcome, swapped)), n)
            for first, second, outcome, swapped, n in counted.order_by()]


def board_of(entrants: Sequence[Entrant], counted: Iterable[tuple[Vote, int]], least: int = LEAST_VOTES) -> Board:
    """The board that these votes give."""
    votes = [vote for vote, count in counted for _ in range(count)]
    return arranged(entrants, votes, with_intervals(votes, len(entrants)), least)


def arranged(
    entrants: Sequence[Entrant], votes: Sequence[Vote], strengths: Strengths, least: int = LEAST_VOTES,
) -> Board:  # fmt: skip
    """A board of given strengths."""
    meetings = np.zeros((len(entrants), len(entrants)), dtype=int)
    for vote in votes:
        meetings[vote.first, vote.second] += 1
        meetings[vote.second, vote.first] += 1
    totals = [int(total) for total in meetings.sum(axis=1)]
    ranks = ranks_of(strengths, totals, least)
    rates = win_rates_of(strengths.value)
    order = sorted(range(len(entrants)), key=lambda place: -strengths.value[place])
    rows = {place: BoardRow(entrants[place], ranks[place], totals[place],
                            *(float(column[place] * NATS_TO_ELO) for column in strengths)) for place in order}
    matrix = [(rows[i], [Cell(None if i == j else float(rates[i, j]), int(meetings[i, j])) for j in order])
              for i in order]
    return Board([rows[place] for place in order], matrix, len(votes), sum(vote.score == 0.5 for vote in votes))
