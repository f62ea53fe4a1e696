"""Conversations are stored while one chats: reload, attempts, history, teammates, other teams."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.conftest import logged_in
from tests.webapp.playground.chatting import Member, Worker
from webapp.accounts.models import Team, User
from webapp.playground import services, stream
from webapp.playground.conversation import ShownConversation, ShownTurn
from webapp.playground.history import conversation_shown
from webapp.playground.models import Answer, Conversation, Turn
from webapp.playground.selectors import DEMO_BASE

pytestmark = pytest.mark.django_db(transaction=True)
Talk = Callable[..., Conversation]


@pytest.fixture
def member(owner: User, team: Team, worker: Worker) -> Member:
    return Member(owner, team)


@pytest.fixture
def talk(team: Team, owner: User) -> Talk:
    """A stored conversation with one turn for each prompt."""

    def make(*prompts: str, user: User = owner, answer: str = "Yes") -> Conversation:
        shown = ShownConversation((DEMO_BASE, DEMO_BASE), ("Left", "Right"))
        for prompt in prompts:
            turn = services.turn_start(team_id=team.pk, user_id=user.pk, talk=shown, prompt=prompt, scored_by=None,
                                       sampling=stream.ChatSampling(seed=3), replaces=False)
            complete = ShownTurn(prompt).with_answer(0, text=answer, end="complete").with_answer(1, text="No")
            services.turn_finish(turn_id=turn.pk, shown=complete.stopped())
            shown = ShownConversation(shown.policies, shown.names, pk=turn.conversation_id)
        return Conversation.objects.get(pk=shown.pk)

    return make


def listed(client: Client, **query: str) -> list[str]:
    """The titles in the history."""
    page = client.get("/playground/history/", query).content.decode()
    return [html.unescape(title) for title in re.findall(r'<span class="clip">([^<]+)</span>', page)]


async def test_a_turn_is_stored_with_all_that_one_saw(member: Member, owner: User, team: Team) -> None:
    await member.say("  What is\nit? ", temperature=0.5)
    stored = await Conversation.objects.aget()
    assert (stored.team_id, stored.owner_id, stored.title) == (team.pk, owner.pk, "What is it?")
    assert (stored.policy_a, stored.name_a) == (DEMO_BASE, "Demo world (base)")
    assert member.page["chat"] == str(stored.pk)
    turn = await Turn.objects.aget()
    assert turn.prompt == "What is\nit?"
    assert turn.sampling == {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 64, "seed": 7}
    left, right = [answer async for answer in Answer.objects.all()]
    assert (left.text, left.end, left.tokens, left.seconds) == ("<b>No", "complete", 2, 0.1)
    assert (left.reward, right.reward) == (0.1, 0.6)
    assert right.scores == [["toxicity", 1.5, 0.7]]


async def test_a_reload_shows_the_same_conversation(member: Member, owner: User, team: Team) -> None:
    await member.say("First?", temperature=0.5)
    await member.say("Second?", temperature=0.5)
    again = Member(owner, team, chat=member.page["chat"])
    await again.open()
    for part in ("past", "now", "chat", "policies"):
        assert again.page[part] == member.page[part]
    assert again.page["temperature"] == 0.5


async def test_a_prompt_is_stored_before_it_is_answered_and_a_closed_page_keeps_what_was_said(
        member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = []

    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        stored.append(await Turn.objects.acount())
        yield {"kind": "started"}
        yield {"kind": "piece", "side": 0, "text": "Half an"}
        yield {"kind": "answer", "side": 1, "text": "All", "tokens": 1, "seconds": 0.1, "ended": True}
        yield {"kind": "loading", "side": 0}

    monkeypatch.setattr(stream, "events", events)
    from webapp.playground import pane

    shown = pane.chat("Hello", DEMO_BASE, DEMO_BASE, "auto", 1.0, 1.0, 64, 7, "", False, member.request)
    for _ in range(3):
        await anext(shown)
    await shown.aclose()
    assert stored == [1]
    answers = [(answer.text, answer.end) async for answer in Answer.objects.all()]
    assert answers == [("Half an", "stopped"), ("All", "complete")]


async def test_another_try_keeps_both_and_the_arrows_page_through_them(member: Member, worker: Worker) -> None:
    await member.say("First?")
    await member.say("Second?")
    worker.texts = ("Other", "Another")
    await member.again()
    assert "attempt 2 of 2" in member.page["now"] and "Another" in member.page["now"]
    assert [message["content"] for message in worker.requests[2].dialogues[0]] == ["First?", "<b>No", "Second?"]
    assert worker.requests[2].sampling.seed != 7, "a new seed, or it would say the same"
    await member.turn_page(-1)
    assert "attempt 1 of 2" in member.page["now"] and "Yes" in member.page["now"]
    assert await member.turn_page(-1) and "attempt 1 of 2" in member.page["now"], "nothing before the first"
    await member.say("Third?")
    assert worker.requests[3].dialogues[1][3]["content"] == "Yes ${1}", "it follows what is shown"
    assert await Turn.objects.acount() == 4


async def test_an_edited_prompt_is_another_attempt(member: Member, worker: Worker) -> None:
    await member.say("Frist?")
    assert (await member.edit())["prompt"] == "Frist?"
    await member.say("First?")
    assert "attempt 2 of 2" in member.page["now"] and "Frist?" not in member.page["now"]
    assert [message["content"] for message in worker.requests[1].dialogues[0]] == ["First?"]
    assert member.page["edits"] is False
    await member.say("Second?")
    assert [turn.position async for turn in Turn.objects.all()] == [1, 1, 2]


async def test_a_try_that_fails_leaves_the_one_before_in_its_place(
        member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    await member.say("First?")

    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        yield {"kind": "failed", "cause": "No memory.", "remedy": "Wait."}

    monkeypatch.setattr(stream, "events", events)
    await member.again()
    assert "No memory." in member.page["status"] and "Yes" in member.page["now"]
    assert await Turn.objects.filter(is_shown=True).acount() == 1


async def test_a_teammate_reads_and_continues_in_a_copy(member: Member, teammate: User, team: Team) -> None:
    await member.say("First?")
    chat = member.page["chat"]
    reader = Member(teammate, team, chat=chat)
    shown = await reader.open()
    assert "First?" in shown["now"]
    assert shown["composer"].visible is False and shown["tools"].visible is False
    await reader.say("Mine?")
    assert "Continue as a copy" in reader.page["status"]
    await reader.again()
    await reader.turn_page(-1)
    assert await Turn.objects.acount() == 1, "only the owner writes"

    client = await sync_to_async(logged_in)(teammate)
    page = (await sync_to_async(client.get)("/playground/", {"chat": chat})).content.decode()
    assert "owner wrote this conversation" in page and "First?" not in await sync_to_async(listed)(client)
    answer = await sync_to_async(client.post)(f"/playground/{chat}/copy/")
    copy = await Conversation.objects.aget(owner=teammate)
    assert answer.url == f"/playground/?chat={copy.pk}"
    writer = Member(teammate, team, chat=str(copy.pk))
    await writer.open()
    assert "toxicity" in writer.page["now"], "with its rewards"
    await writer.say("Mine?")
    assert await Turn.objects.filter(conversation=copy).acount() == 2
    assert await Turn.objects.exclude(conversation=copy).acount() == 1


def test_a_teammate_cannot_rename_or_delete(talk: Talk, teammate_client: Client) -> None:
    stored = talk("First?")
    for verb in ("rename", "delete"):
        answer = teammate_client.post(f"/playground/{stored.pk}/{verb}/", {"title": "Mine", "confirmed": "1"})
        assert answer.status_code == 404
    assert Conversation.objects.get().title == "First?"


async def test_another_team_finds_nothing(member: Member, worker: Worker, stranger: User, other_team: Team) -> None:
    await member.say("First?")
    chat = member.page["chat"]
    client = await sync_to_async(logged_in)(stranger)
    for address in (f"/playground/?chat={chat}", "/playground/?chat=x", "/playground/?chat=999999"):
        assert (await sync_to_async(client.get)(address)).status_code == 404
    for verb in ("copy", "rename", "delete"):
        assert (await sync_to_async(client.post)(f"/playground/{chat}/{verb}/")).status_code == 404
    foreign = Member(stranger, other_team, chat=chat)
    shown = await foreign.open()
    assert "First?" not in str(shown) and "no such conversation" in shown["status"]
    foreign.page["chat"] = chat  # as a forged request would name it
    await foreign.say("Second?")
    assert len(worker.requests) == 1 and await Turn.objects.acount() == 1
    assert await foreign.again() == [{}] and await foreign.edit() == {} and await foreign.turn_page(1) == {}


async def test_a_conversation_deleted_while_it_is_open_is_said_and_not_made_anew(member: Member) -> None:
    await member.say("First?")
    await Conversation.objects.all().adelete()
    await member.say("Second?")
    assert "was deleted" in member.page["status"]
    assert not await Conversation.objects.aexists()


def test_the_history_is_ones_own_newest_first_and_found_by_words(
        talk: Talk, teammate: User, owner_client: Client) -> None:
    talk("About the sea", answer="It is Blue")
    talk("About the moon", "Its mass?", answer="Heavy 100%")
    talk("Not mine", user=teammate)
    assert listed(owner_client) == ["About the moon", "About the sea"]
    assert listed(owner_client, q="about SEA") == ["About the sea"]
    assert listed(owner_client, q="mass heavy") == ["About the moon"], "prompts and answers are read too"
    assert listed(owner_client, q="100%") == ["About the moon"]
    assert listed(owner_client, q="sea moon") == []
    assert "No conversation has all these words" in owner_client.get("/playground/history/?q=zzz").content.decode()
    talk_again = Conversation.objects.get(title="About the sea")
    services.turn_start(team_id=talk_again.team_id, user_id=talk_again.owner_id or 0, prompt="More", scored_by=None,
                        talk=ShownConversation(("", ""), ("", ""), pk=talk_again.pk), sampling=stream.ChatSampling(),
                        replaces=False)
    assert listed(owner_client)[0] == "About the sea"


def test_it_is_renamed_and_after_a_question_deleted(talk: Talk, owner_client: Client) -> None:
    stored = talk("First?")
    address = f"/playground/{stored.pk}"
    assert owner_client.post(f"{address}/rename/", {"title": "<b>Sea"}).url == f"/playground/?chat={stored.pk}"
    assert "&lt;b&gt;Sea" in owner_client.get("/playground/").content.decode()
    for title in ("", " ", "x" * 201):
        owner_client.post(f"{address}/rename/", {"title": title})
    assert Conversation.objects.get().title == "<b>Sea"
    question = owner_client.post(f"{address}/delete/").content.decode()
    assert "Its 1 turn is deleted for good" in question and Conversation.objects.exists()
    owner_client.post(f"{address}/delete/", {"confirmed": "1"})
    assert not Conversation.objects.exists() and not Answer.objects.exists()


def test_pages_ask_as_much_of_the_database_for_many_as_for_one(
        talk: Talk, owner: User, team: Team, owner_client: Client, django_assert_num_queries: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    one = talk("First?")
    owner_client.get("/playground/")
    with CaptureQueriesContext(connection) as few:
        owner_client.get("/playground/", {"chat": one.pk, "q": "f"})
    long = talk(*(f"First {number}" for number in range(8)))
    for number in range(5):
        talk(f"Further {number}")
    with django_assert_num_queries(len(few)):
        owner_client.get("/playground/", {"chat": long.pk, "q": "f"})
    with django_assert_num_queries(4):
        shown = conversation_shown(team.pk, owner.pk, long.pk, {})
    assert shown is not None and len(shown.turns) == 8


def test_numbers_that_no_database_holds_are_left_out(team: Team, owner: User) -> None:
    shown = ShownConversation((DEMO_BASE, DEMO_BASE), ("", ""))
    turn = services.turn_start(team_id=team.pk, user_id=owner.pk, talk=shown, prompt="\x00Hi \ud83d", scored_by=None,
                               sampling=stream.ChatSampling(), replaces=False)
    said = ShownTurn("Hi").with_answer(0, text="\x00", reward=float("nan")).with_answer(1, reward=float("inf"))
    services.turn_finish(turn_id=turn.pk, shown=said.stopped())
    assert [answer.reward for answer in Answer.objects.all()] == [None, None]
    assert Turn.objects.get().prompt == "\ufffdHi \ufffd"
