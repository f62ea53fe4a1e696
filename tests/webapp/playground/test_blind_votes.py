"""Votes on answers: blind ones see no name before, what is shown after, and that none is lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.webapp.playground.chatting import Member, Worker
from webapp.accounts.models import Team, User
from webapp.playground import answering
from webapp.playground.models import ChatVote, Conversation, Turn
from webapp.playground.selectors import DEMO_BASE
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)
FinishRun = Callable[..., Run]
NAME = "gentle (run "


@pytest.fixture
async def member(owner: User, team: Team, worker: Worker, finish_run: FinishRun) -> Member:
    """A member who chats with a run's policy (B) and its base (A)."""
    run = await sync_to_async(finish_run)(team)
    member = Member(owner, team)
    member.right = f"tuned:{run.pk}"
    return member


async def cast(client: Client, turn: Turn, outcome: str, **marks: str) -> tuple[int, str]:
    answer = await sync_to_async(client.post)(f"/playground/{turn.conversation_id}/vote/",
                                              {"turn": turn.pk, "outcome": outcome} | marks)
    return answer.status_code, answer.content.decode()


def sides(monkeypatch: pytest.MonkeyPatch, *, swapped: bool) -> None:
    """Decide what the server draws when it shuffles the sides."""
    class Dice:
        def random(self) -> float:
            return 0.0 if swapped else 0.9

    monkeypatch.setattr(answering, "_DICE", Dice())


@pytest.mark.parametrize("swapped", [False, True])
async def test_names_and_rewards_are_hidden_until_the_vote_and_shown_after_it(
        swapped: bool, member: Member, owner_client: Client, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    sides(monkeypatch, swapped=swapped)
    await member.switch(True)
    shown = await member.say("Is it so?")
    drawn = "".join(str(change.get(part, "")) for change in shown for part in ("past", "now", "status"))
    assert NAME not in drawn and "Demo world (base)" not in drawn and "+0.50" not in drawn and "<table" not in drawn
    assert member.page["now"].count("name hidden until you vote") == 2 and "data-outcome" in member.page["now"]

    assert (await cast(owner_client, await Turn.objects.aget(), "b"))[0] == 200
    await member.reread()
    now = member.page["now"]
    names = ("Demo world (base)", NAME)
    first, second = reversed(names) if swapped else names
    assert 0 < now.index(first) < now.index(second), "the sides are those that were drawn"
    assert "+0.50" in now and "You voted: B better" in now and ", blind" in now
    assert "The preference models reward B more" in now


async def test_the_server_shuffles_the_sides_and_each_policy_answers_on_its_own(
        member: Member, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    sides(monkeypatch, swapped=True)
    member.blind = True
    await member.say("First?")
    stored = await Conversation.objects.aget()
    assert (stored.is_blind, stored.policy_a, stored.policy_b) == (True, member.right, DEMO_BASE)
    assert worker.requests[0].policies[0]["stage"] is not None, "side A is the run's policy"
    await member.say("Second?")
    assert await Conversation.objects.acount() == 1, "the lists show the policies in another order, and it goes on"
    assert [message["content"] for message in worker.requests[1].dialogues[0]] == ["First?", "<b>No", "Second?"]


async def test_a_reload_tells_nothing_and_keeps_the_vote(
        member: Member, owner: User, team: Team, owner_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = []
    for swapped in (False, True):
        sides(monkeypatch, swapped=swapped)
        member.blind, member.page["chat"] = True, ""
        await member.say("Is it so?")
        again = Member(owner, team, chat=member.page["chat"])
        shown = await again.open()
        lists.append((again.left, again.right, shown["policies"]))
        assert NAME not in again.page["now"] + again.page["past"] and shown["blind"].value is True
    assert lists[0] == lists[1], "the lists look the same however the sides are"
    history = await sync_to_async(owner_client.get)("/playground/history/")
    assert "blind" in history.content.decode() and NAME not in history.content.decode()
    await cast(owner_client, await Turn.objects.aget(conversation=member.page["chat"]), "tie")
    again = Member(owner, team, chat=member.page["chat"])
    await again.open()
    assert "You voted: tie" in again.page["now"] and "data-outcome" not in again.page["now"]


async def test_only_the_first_vote_of_a_conversation_is_blind_and_open_ones_never_are(
        member: Member, owner_client: Client) -> None:
    member.blind = True
    for prompt in ("First?", "Second?"):
        await member.say(prompt)
        await cast(owner_client, await Turn.objects.aget(prompt=prompt), "a")
        await member.reread()
    await member.switch(False)
    assert member.page["chat"] == "" and "in the history" in member.page["status"]
    await member.say("Third?")
    assert NAME in member.page["now"] and "data-outcome" in member.page["now"], "votes work with names too"
    await cast(owner_client, await Turn.objects.aget(prompt="Third?"), "bad")
    votes = [(vote.outcome, vote.blind) async for vote in ChatVote.objects.all()]
    assert votes == [("a", True), ("a", False), ("bad", False)]


async def test_a_vote_sent_twice_counts_once_and_another_one_is_refused(
        member: Member, owner: User, owner_client: Client) -> None:
    await member.say("Is it so?")
    turn = await Turn.objects.aget()
    assert (await cast(owner_client, turn, "a"))[0] == (await cast(owner_client, turn, "a"))[0] == 200
    status, words = await cast(owner_client, turn, "b")
    assert status == 409 and "voted on this turn already: A better" in words
    vote = await ChatVote.objects.aget()
    assert (vote.outcome, vote.user_id, vote.turn_id) == ("a", owner.pk, turn.pk)


async def test_principles_are_voted_on_beside_and_compared_with_their_models(
        member: Member, owner_client: Client) -> None:
    await member.say("Is it so?")
    assert 'data-principle="toxicity"' in member.page["now"]
    await cast(owner_client, await Turn.objects.aget(), "a", **{
        "principle-toxicity": "a", "principle-unknown": "a", "principle-": "b"})
    assert (await ChatVote.objects.aget()).by_principle == {"toxicity": "a"}
    await member.reread()
    assert "you A, its model B" in member.page["now"]


@pytest.mark.parametrize("fields", [
    {}, {"outcome": "a"}, {"outcome": "win", "turn": "OWN"}, {"outcome": "a", "turn": "x"},
    {"outcome": "a", "turn": "9" * 40}, {"outcome": "a", "turn": "-1"}])
async def test_odd_votes_are_refused_in_words(fields: dict[str, str], member: Member, owner_client: Client) -> None:
    await member.say("Is it so?")
    turn = await Turn.objects.aget()
    sent = {name: str(turn.pk) if value == "OWN" else value for name, value in fields.items()}
    answer = await sync_to_async(owner_client.post)(f"/playground/{turn.conversation_id}/vote/", sent)
    assert answer.status_code == 409 and answer.json()["refused"]


async def test_a_teammate_reads_a_blind_conversation_blind_and_casts_no_vote_in_it(
        member: Member, teammate: User, team: Team, teammate_client: Client, stranger_client: Client) -> None:
    member.blind = True
    await member.say("Is it so?")
    turn = await Turn.objects.aget()
    reader = Member(teammate, team, chat=member.page["chat"])
    await reader.open()
    assert NAME not in reader.page["now"] and "data-outcome" not in reader.page["now"]
    for client in (teammate_client, stranger_client):
        assert (await cast(client, turn, "a"))[0] == 404
    await sync_to_async(teammate_client.post)(f"/playground/{turn.conversation_id}/copy/")
    assert (await Conversation.objects.aget(owner=teammate)).is_blind, "a copy reveals nothing either"
