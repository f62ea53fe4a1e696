"""Arenas are imported from files, listed, opened and closed, and their boards are the team's own."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.arena.answers import better_first, make_arena
from webapp.accounts.models import Team, User
from webapp.arena.boards import board_of, people_votes
from webapp.arena.models import Arena, ArenaAnswer
from webapp.arena.serving import ballots_for
from webapp.arena.voting import vote

ROW = {"prompt": "Why?", "policy": "one", "answer": "Because."}


def send(client: Client, content: str, filename: str = "answers.jsonl", **fields: str) -> str:
    return client.post(reverse("arena:import"), {
        "name": "Imported", "choice": "active", "overlap_every": "5", "overlap_people": "2",
        "file": SimpleUploadedFile(filename, content.encode()), **fields}, follow=True).content.decode()


def lines(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_jsonl_file_becomes_an_arena(owner_client: Client, team: Team) -> None:
    page = send(owner_client, lines(ROW, ROW | {"policy": "two", "reward": 0.5, "scores": {"honesty": 1}}))
    assert "No votes yet" in page
    arena = Arena.objects.of(team).get()
    assert [entrant.name for entrant in arena.entrants.all()] == ["one", "two"]
    assert ArenaAnswer.objects.get(entrant__name="two").scores == {"honesty": 1.0}
    assert arena.prompts.get().prompt == [{"role": "user", "content": "Why?"}]


def test_a_csv_file_becomes_an_arena(owner_client: Client, team: Team) -> None:
    send(owner_client, "prompt,model,response,reward\nWhy?,one,Because.,\nWhy?,two,No idea.,-1.5\n", "answers.csv")
    assert ArenaAnswer.objects.get(entrant__name="two").reward == -1.5
    assert ArenaAnswer.objects.get(entrant__name="one").reward is None


@pytest.mark.parametrize(("rows", "words"), [
    ([ROW], "answers of 1 policy"), ([ROW, ROW], "answers one prompt twice"),
    ([ROW, {"prompt": "Why?", "policy": "two"}], "Row 2: &#x27;answer&#x27; is missing"),
    ([ROW, ROW | {"prompt": "How?", "policy": "two"}], "No prompt is answered by two policies"),
    ([ROW, ROW | {"policy": "two", "reward": "much"}], "&#x27;reward&#x27; is &#x27;much&#x27;, which is no number"),
    ([ROW, ROW | {"policy": "two", "prompt": [{"role": "boss"}]}], "something other than messages"),
    ([ROW, ROW | {"policy": ""}], "Row 2: &#x27;policy&#x27; is empty")])
def test_a_bad_file_is_refused_with_its_row(
        rows: list[dict[str, object]], words: str, owner_client: Client, team: Team) -> None:
    assert words in send(owner_client, lines(*rows))
    assert not Arena.objects.exists()


@pytest.mark.parametrize("count", [0, 6])
def test_the_list_says_what_there_is(count: int, owner_client: Client, team: Team, owner: User) -> None:
    for number in range(count):
        make_arena(team, owner, name=f"Arena {number}")
    with CaptureQueriesContext(connection) as queries:
        page = owner_client.get(reverse("arena:list")).content.decode()
    assert ("No arenas yet" in page) is (count == 0)
    assert len(queries) <= 6


def test_an_arena_is_closed_opened_and_deleted_after_a_question(
        owner_client: Client, team: Team, owner: User) -> None:
    arena = make_arena(team, owner)
    owner_client.post(reverse("arena:open", args=[arena.pk]), {"open": "0"})
    assert "Voting is closed" in owner_client.get(reverse("arena:vote", args=[arena.pk])).content.decode()
    owner_client.post(reverse("arena:open", args=[arena.pk]), {"open": "1"})
    assert "Question" in owner_client.get(reverse("arena:vote", args=[arena.pk])).content.decode()
    asked = owner_client.post(reverse("arena:delete", args=[arena.pk])).content.decode()
    assert "Delete the arena" in asked and Arena.objects.exists()
    owner_client.post(reverse("arena:delete", args=[arena.pk]), {"confirmed": "1"})
    assert not Arena.objects.exists()


def test_another_teams_arena_is_not_found(
        team: Team, owner: User, stranger_client: Client) -> None:
    arena = make_arena(team, owner, name="Secret arena")
    for name in ("board", "vote"):
        assert stranger_client.get(reverse(f"arena:{name}", args=[arena.pk])).status_code == 404
    assert "Secret arena" not in stranger_client.get(reverse("arena:list")).content.decode()


def test_the_board_ranks_by_votes_and_shares_ranks_where_it_is_not_sure(
        owner_client: Client, team: Team, owner: User) -> None:
    arena = make_arena(team, owner, policies=3, prompts=40, choice="random")
    for _ in range(110):
        ballot = ballots_for(arena=arena, user=owner, ahead=1)[0]
        pairing = ballot.pairing
        weakest_is_second = pairing.second.name == "policy 3"  # policies 1 and 2 are equal, 3 loses
        outcome = better_first(ballot) if weakest_is_second else "tie"
        vote(ballot=ballot, outcome=outcome)
    entrants = list(arena.entrants.all())
    board = board_of(entrants, people_votes(arena, entrants))
    assert {row.entrant.name: row.rank for row in board.rows} == {"policy 1": 1, "policy 2": 1, "policy 3": 3}
    page = owner_client.get(reverse("arena:board", args=[arena.pk])).content.decode()
    assert "110 votes" in page and page.index("policy 3") > page.index("policy 1")


@pytest.mark.parametrize("policies", [2, 8])
def test_the_board_runs_as_many_queries_for_eight_policies_as_for_two(
        policies: int, owner_client: Client, team: Team, owner: User) -> None:
    arena = make_arena(team, owner, policies=policies)
    for _ in range(4):
        vote(ballot=ballots_for(arena=arena, user=owner, ahead=1)[0], outcome="a")
    with CaptureQueriesContext(connection) as queries:
        owner_client.get(reverse("arena:board", args=[arena.pk]))
    assert len(queries) <= 9
