"""Arenas with made-up answers, for the tests of their pages."""

from __future__ import annotations

from typing import Any

from webapp.accounts.models import Team, User
from webapp.arena.answer_files import GivenAnswer
from webapp.arena.models import Arena, Ballot
from webapp.arena.services import PairSettings, arena_import


def make_arena(team: Team, user: User, *, policies: int = 3, prompts: int = 4, name: str = "Which is kinder",
               rewards: bool = False, **settings: Any) -> Arena:
    """An arena in which every policy answers every prompt; policy 2's rewards are above policy 1's, and so on."""
    given = [GivenAnswer([{"role": "user", "content": f"Question {prompt}?"}], f"policy {policy}",
                         f"Answer of number {policy} to {prompt}.", float(policy) if rewards else None)
             for prompt in range(1, prompts + 1) for policy in range(1, policies + 1)]
    return arena_import(team=team, user=user, name=name, answers=given,
                        pairs=PairSettings(**{"overlap_every": 0, **settings}))


def better_first(ballot: Ballot) -> str:
    """The outcome by which the first entrant of the pair wins."""
    return "b" if ballot.swapped else "a"
