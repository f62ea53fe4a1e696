"""Beside people's board: one principle's, the rewards' with its agreement, length taken out, people with each other."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.arena.answers import better_first, make_arena
from webapp.accounts.models import Team, User
from webapp.arena.comparing import people_agreement, people_board, rewards_board, voted_pairs
from webapp.arena.models import Arena
from webapp.arena.serving import ballots_for
from webapp.arena.voting import vote
from webapp.principles.models import Principle


@pytest.fixture
def arena(team: Team, owner: User) -> Arena:
    """Two policies on ten prompts: people choose the first overall, the second by the principle; rewards the second."""
    principle = Principle.objects.of(team)[0]
    arena = make_arena(team, owner, policies=2, prompts=10, rewards=True, principles=[principle])
    for number in range(10):
        ballot = ballots_for(arena=arena, user=owner, ahead=1)[0]
        first = better_first(ballot)
        second = "a" if first == "b" else "b"
        vote(ballot=ballot, outcome=first if number < 8 else second, by_principle={principle.pk: second})
    return arena


def test_rewards_are_compared_on_the_pairs_that_people_voted_on(arena: Arena) -> None:
    entrants = list(arena.entrants.all())
    rewards = rewards_board(entrants, voted_pairs(arena, entrants))
    assert rewards and [row.entrant.name for row in rewards.board.rows] == ["policy 2", "policy 1"]
    assert (rewards.agreement.n, rewards.agreement.raw, rewards.agreement.base_rates) == (10, 0.2, (0.8, 0.0))


def test_a_principles_board_is_of_its_own_votes(arena: Arena) -> None:
    entrants, principle = list(arena.entrants.all()), arena.principles.get()
    overall = people_board(entrants, voted_pairs(arena, entrants))
    by_principle = people_board(entrants, voted_pairs(arena, entrants, principle))
    assert [board.rows[0].entrant.name for board in (overall, by_principle)] == ["policy 1", "policy 2"]
    assert rewards_board(entrants, voted_pairs(arena, entrants, principle)) is None, "the answers have no scores of it"


def test_people_who_voted_on_one_pair_are_compared(
        arena: Arena, teammate: User) -> None:
    assert people_agreement(arena) is None
    for number in range(4):
        ballot = ballots_for(arena=arena, user=teammate, ahead=1)[0]
        first = better_first(ballot)
        vote(ballot=ballot, outcome=first if number < 3 else "tie")
    agreement = people_agreement(arena)
    assert agreement and agreement.n == 3, "a tie names no winner"


@pytest.mark.parametrize("query", [
    "", "?by=OWN", "?length=1", "?by=OWN&length=1", "?by=x&length=9", "?by=9999999999999"])
def test_every_board_has_its_address(query: str, arena: Arena, owner_client: Client) -> None:
    query = query.replace("OWN", str(arena.principles.get().pk))
    page = owner_client.get(reverse("arena:board", args=[arena.pk]) + query).content.decode()
    assert "Who beats whom" in page
    assert ("Length is taken out" in page) is ("length=1" in query)
