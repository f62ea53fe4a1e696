"""Votes in an arena: blind, once per pair and person, undone, shared by several people, safe in two tabs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from tests.webapp.arena.answers import better_first, make_arena
from webapp.accounts.models import Team, User
from webapp.arena.models import Arena, Ballot, Pairing, PrincipleVote
from webapp.arena.services import arena_open
from webapp.arena.serving import AHEAD, ballots_for, score_of
from webapp.arena.voting import VoteRefused, undo, vote


def vote_on_all(arena: Arena, user: User) -> list[Ballot]:
    seen = []
    while ballots := ballots_for(arena=arena, user=user):
        vote(ballot=ballots[0], outcome="a")
        seen.append(ballots[0])
    return seen


@pytest.mark.parametrize("choice", Arena.Choice.values)
def test_a_person_sees_every_pair_once_and_none_twice(team: Team, owner: User, choice: str) -> None:
    arena = make_arena(team, owner, policies=3, prompts=4, choice=choice)
    seen = vote_on_all(arena, owner)
    assert len(seen) == 4 * 3, "three pairs of policies on each of four prompts"
    assert len({ballot.pairing_id for ballot in seen}) == 12


def test_the_database_refuses_a_pair_that_a_person_has_had(team: Team, owner: User) -> None:
    ballot = ballots_for(arena=make_arena(team, owner), user=owner)[0]
    with pytest.raises(IntegrityError):
        Ballot.objects.create(pairing=ballot.pairing, user=owner)


def test_prompts_are_used_evenly(team: Team, owner: User) -> None:
    arena = make_arena(team, owner, policies=3, prompts=5)
    for _ in range(5):
        vote(ballot=ballots_for(arena=arena, user=owner, ahead=1)[0], outcome="tie")
    assert Pairing.objects.values("prompt").distinct().count() == 5


def test_two_tabs_show_the_same_pairs_and_count_one_vote(team: Team, owner: User) -> None:
    arena = make_arena(team, owner)
    one, other = ballots_for(arena=arena, user=owner), ballots_for(arena=arena, user=owner)
    assert [ballot.pk for ballot in one] == [ballot.pk for ballot in other] and len(one) == AHEAD
    vote(ballot=one[0], outcome="a")
    vote(ballot=other[0], outcome="a")  # sent again after the connection was lost
    with pytest.raises(VoteRefused, match="voted on this pair already: A better"):
        vote(ballot=other[0], outcome="b")
    assert Ballot.objects.get(pk=one[0].pk).outcome == "a"


def test_every_second_pair_goes_to_two_people_and_the_rest_to_one(
        team: Team, owner: User, teammate: User) -> None:
    arena = make_arena(team, owner, prompts=10, overlap_every=2, overlap_people=2)
    mine = [ballots_for(arena=arena, user=owner, ahead=n)[-1] for n in range(1, 7)]
    theirs = [ballots_for(arena=arena, user=teammate, ahead=n)[-1] for n in range(1, 4)]
    shared = {ballot.pairing_id for ballot in mine} & {ballot.pairing_id for ballot in theirs}
    assert shared == {mine[1].pairing_id, mine[3].pairing_id, mine[5].pairing_id}


def test_a_skipped_pair_of_several_people_goes_to_another(
        team: Team, owner: User, teammate: User) -> None:
    arena = make_arena(team, owner, overlap_every=1, overlap_people=1)
    skipped = ballots_for(arena=arena, user=owner, ahead=1)[0]
    vote(ballot=skipped, outcome="skip", reason="I cannot tell")
    assert ballots_for(arena=arena, user=teammate, ahead=1)[0].pairing_id == skipped.pairing_id
    assert Ballot.objects.get(pk=skipped.pk).reason == "I cannot tell"


def test_undo_brings_the_last_pair_back_and_then_the_one_before(team: Team, owner: User) -> None:
    arena = make_arena(team, owner)
    first, second = ballots_for(arena=arena, user=owner)[:2]
    vote(ballot=first, outcome="a")
    vote(ballot=second, outcome="bad")
    assert [undone.pk for _ in range(2) if (undone := undo(arena=arena, user=owner))] == [second.pk, first.pk]
    assert undo(arena=arena, user=owner) is None
    assert ballots_for(arena=arena, user=owner)[0].pk == first.pk


def test_no_one_takes_back_the_vote_of_another(team: Team, owner: User, teammate: User) -> None:
    arena = make_arena(team, owner)
    vote(ballot=ballots_for(arena=arena, user=owner)[0], outcome="a")
    assert undo(arena=arena, user=teammate) is None


def test_a_closed_arena_takes_no_vote(team: Team, owner: User) -> None:
    arena = make_arena(team, owner)
    ballot = ballots_for(arena=arena, user=owner)[0]
    arena_open(arena=arena, is_open=False)
    arena.refresh_from_db()
    with pytest.raises(VoteRefused, match="closed"):
        vote(ballot=Ballot.objects.get(pk=ballot.pk), outcome="a")
    assert ballots_for(arena=arena, user=owner) == []


def test_the_sides_are_shuffled_and_the_score_follows_them(team: Team, owner: User) -> None:
    arena = make_arena(team, owner, prompts=30)
    ballots = ballots_for(arena=arena, user=owner, ahead=60)
    assert 10 < sum(ballot.swapped for ballot in ballots) < 50
    assert {score_of(better_first(ballot), ballot.swapped) for ballot in ballots} == {1.0}
    assert score_of("tie", True) == score_of("bad", False) == 0.5


def test_principles_are_voted_on_by_those_of_the_arena_only(team: Team, owner: User) -> None:
    from webapp.principles.models import Principle

    asked, other = Principle.objects.of(team)[:2]
    arena = make_arena(team, owner, principles=[asked])
    vote(ballot=ballots_for(arena=arena, user=owner)[0], outcome="a",
         by_principle={asked.pk: "b", other.pk: "a", 10**9: "a"})
    assert list(PrincipleVote.objects.values_list("principle", "side")) == [(asked.pk, "b")]
    undo(arena=arena, user=owner)
    assert not PrincipleVote.objects.exists()


# The page -------------------------------------------------------------------------------------------------------------


def page_of(client: Client, arena: Arena) -> str:
    return client.get(reverse("arena:vote", args=[arena.pk])).content.decode()


def test_the_page_names_no_policy_and_no_reward(team: Team, owner: User, owner_client: Client) -> None:
    page = page_of(owner_client, make_arena(team, owner, rewards=True))
    assert "Answer of number" in page
    assert "policy 1" not in page and "policy 2" not in page and "reward" not in page.lower()


def test_people_vote_without_javascript(team: Team, owner: User, owner_client: Client) -> None:
    arena = make_arena(team, owner)
    address = reverse("arena:vote", args=[arena.pk])
    page_of(owner_client, arena)
    first, second = Ballot.objects.order_by("pk")[:2]
    sent = owner_client.post(address, {"ballot": first.pk, "outcome": "b"}, follow=True)
    assert f'name="ballot" value="{second.pk}"' in sent.content.decode(), "the next pair is on the page"
    assert Ballot.objects.get(pk=first.pk).outcome == "b"
    sent = owner_client.post(address, {"outcome": "undo"}, follow=True)
    assert f'name="ballot" value="{first.pk}"' in sent.content.decode()


def test_a_vote_by_script_is_answered_with_the_pairs_that_the_page_lacks(
        team: Team, owner: User, owner_client: Client) -> None:
    arena = make_arena(team, owner)
    page_of(owner_client, arena)
    first, *later = Ballot.objects.order_by("pk")
    answer = owner_client.post(reverse("arena:vote", args=[arena.pk]), {
        "ballot": first.pk, "outcome": "a", "present": ",".join(str(ballot.pk) for ballot in later)},
        headers={"Accept": "application/json"}).json()
    newest = Ballot.objects.order_by("-pk")[0]
    assert len(answer["pairs"]) == 1 and f'data-ballot="{newest.pk}"' in answer["pairs"][0]
    assert "1</span> vote by you" in answer["summary"]


@pytest.mark.parametrize("fields", [
    {}, {"outcome": "a"}, {"outcome": "a", "ballot": "x"}, {"outcome": "a", "ballot": "9" * 40},
    {"outcome": "win", "ballot": "1"}, {"outcome": "undo"}, {"outcome": "a", "ballot": "²"},
    {"outcome": "a", "ballot": "OWN", "principle-²": "a", "principle-99999999999999999999999999": "a"}])
def test_odd_fields_are_refused_or_ignored_and_break_nothing(
        fields: dict[str, str], team: Team, owner: User, owner_client: Client) -> None:
    arena = make_arena(team, owner)
    own = ballots_for(arena=arena, user=owner)[0]
    sent = {name: str(own.pk) if value == "OWN" else value for name, value in fields.items()}
    answer = owner_client.post(reverse("arena:vote", args=[arena.pk]), sent, headers={"Accept": "application/json"})
    assert answer.status_code in {200, 409}


def test_a_ballot_of_another_person_takes_no_vote(
        team: Team, owner: User, teammate_client: Client) -> None:
    arena = make_arena(team, owner)
    ballot = ballots_for(arena=arena, user=owner)[0]
    answer = teammate_client.post(reverse("arena:vote", args=[arena.pk]), {"ballot": ballot.pk, "outcome": "a"},
                                  headers={"Accept": "application/json"})
    assert answer.status_code == 409 and Ballot.objects.get(pk=ballot.pk).outcome == ""


def test_the_summary_counts_pace_and_agreement_with_rewards(
        team: Team, owner: User, owner_client: Client) -> None:
    from datetime import timedelta

    from django.utils import timezone

    arena = make_arena(team, owner, prompts=10, rewards=True)
    now = timezone.now()
    for number in range(12):
        ballot = ballots_for(arena=arena, user=owner, ahead=1)[0]
        # The second entrant has the higher reward; this person agrees in nine of twelve.
        agrees = number % 4 != 0
        vote(ballot=ballot, outcome=better_first(ballot) if not agrees else "ab".replace(better_first(ballot), ""))
        Ballot.objects.filter(pk=ballot.pk).update(voted_at=now + timedelta(seconds=10 * number))
    times = list(Ballot.objects.filter(voted_at__isnull=False).order_by("voted_at").values_list("voted_at", flat=True))
    assert all(later - earlier == timedelta(seconds=10) for earlier, later in pairwise(times))
    page = page_of(owner_client, arena)
    assert "12</span> votes by you, 12 in this session" in page and "6.0 votes per minute" in page
    assert "same winner as the rewards: 75%" in page


@pytest.mark.parametrize("votes", [2, 12])
def test_a_vote_runs_as_many_queries_whatever_was_voted_before(
        votes: int, team: Team, owner: User, owner_client: Client, django_assert_max_num_queries: object) -> None:
    arena = make_arena(team, owner, policies=4, prompts=10)
    for _ in range(votes):
        vote(ballot=ballots_for(arena=arena, user=owner, ahead=1)[0], outcome="a")
    ballots_for(arena=arena, user=owner)
    with django_assert_max_num_queries(12):  # type: ignore[operator]
        page_of(owner_client, arena)
