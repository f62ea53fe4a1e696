"""A prompt's way through the pane: what is refused, what is sent, what is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.webapp.playground import chatting
from tests.webapp.playground.chatting import Member, Worker
from webapp.accounts.models import Team, User
from webapp.playground import stream
from webapp.playground.models import Conversation
from webapp.playground.selectors import DEMO_BASE
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)
FinishRun = Callable[..., Run]


@pytest.fixture
def member(owner: User, team: Team) -> Member:
    return Member(owner, team)


async def test_both_answers_stream_and_get_their_rewards(
        member: Member, worker: Worker, team: Team, finish_run: FinishRun) -> None:
    run = await sync_to_async(finish_run)(team)
    member.right = f"tuned:{run.pk}"
    shown = await member.say("Is it so?")
    turn = member.page["now"]
    assert turn.count("Is it so?") == 1, "the prompt is shown once, across both answers"
    assert "&lt;b&gt;No" in turn and "<b>" not in turn, "what a policy says is text"
    assert "Yes ${1}" in turn
    assert "−1.00" in turn and "+2.50" in turn, "a reward and a difference"
    assert "hue-toxicity" in turn
    assert "2 tokens in 0.1 s" in turn
    assert "seed 7" in member.page["status"]
    assert worker.requests[0].scorer == run.pk
    assert "is-writing" in shown[0]["now"] and "is-writing" not in turn


async def test_a_score_without_a_number_says_why_and_is_stored_and_shown_again(
        member: Member, worker: Worker, owner: User, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    rewards = chatting.SCORES | {"principles": [
        *chatting.SCORES["principles"], {"name": "correct", "scores": [None, None], "parts": [0.0, 0.0]}]}
    monkeypatch.setattr(chatting, "SCORES", rewards)
    await member.say("What is 2 + 3?")
    turn = member.page["now"]
    assert turn.count("no number: it compares with a reference answer") == 2 and "+2.50" in turn
    again = Member(owner, team, chat=member.page["chat"])
    await again.open()
    assert again.page["now"] == turn


async def test_each_policy_remembers_its_own_answers(member: Member, worker: Worker) -> None:
    await member.say("First?")
    await member.say("Second?")
    contents = [[message["content"] for message in dialogue] for dialogue in worker.requests[1].dialogues]
    assert contents == [["First?", "<b>No", "Second?"], ["First?", "Yes ${1}", "Second?"]]
    assert "First?" in member.page["past"] and "Second?" in member.page["now"]


async def test_opening_the_list_of_policies_without_choosing_changes_nothing(member: Member, worker: Worker) -> None:
    await member.open()
    assert await member.choose(DEMO_BASE, DEMO_BASE) == {}, "before the first prompt"
    await member.say("First?")
    assert await member.choose(DEMO_BASE, DEMO_BASE) == {}
    member.page["policies"] = ("", "")  # the server has restarted and forgot the page
    assert await member.choose(DEMO_BASE, DEMO_BASE) == {}


async def test_another_policy_starts_a_new_conversation_and_keeps_the_old_one(
        member: Member, worker: Worker, team: Team, finish_run: FinishRun) -> None:
    run = await sync_to_async(finish_run)(team)
    await member.say("First?")
    shown = await member.choose(DEMO_BASE, f"tuned:{run.pk}")
    assert shown["chat"] == "" and "First?" not in shown["now"]
    assert "in the history" in shown["status"]
    await member.say("Second?")
    assert len(worker.requests[1].dialogues[0]) == 1
    assert await Conversation.objects.acount() == 2


async def test_a_forged_policy_of_another_team_is_refused(
        member: Member, worker: Worker, other_team: Team, finish_run: FinishRun) -> None:
    theirs = await sync_to_async(finish_run)(other_team)
    member.right = f"tuned:{theirs.pk}"
    shown = await member.say("Tell me")
    assert "not available to your team" in shown[-1]["status"]
    assert worker.requests == []
    assert not await Conversation.objects.aexists()


async def test_another_teams_run_does_not_score(
        member: Member, worker: Worker, other_team: Team, finish_run: FinishRun) -> None:
    theirs = await sync_to_async(finish_run)(other_team)
    await member.say("Tell me", scorer=str(theirs.pk))
    assert worker.requests[0].scorer is None


async def test_an_empty_prompt_does_nothing(member: Member, worker: Worker) -> None:
    assert await member.say("  \n ") == [{}]
    assert worker.requests == []


async def test_a_prompt_that_is_too_long_is_refused_and_stays_in_the_box(member: Member, worker: Worker) -> None:
    shown = await member.say("x" * 8001)
    assert "8,001 characters" in shown[-1]["status"]
    assert "prompt" not in shown[-1]
    assert worker.requests == []


async def test_settings_stay_within_their_bounds(member: Member, worker: Worker) -> None:
    await member.say("Go", temperature=99, top_p=0, longest=10**9, seed=None)
    sampling = worker.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (2.0, 0.05, 1024)
    assert 0 <= sampling.seed < 2**31


async def test_a_failure_is_said_and_the_prompt_comes_back(
        member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        raise stream.ChatFailed("The inference worker is not running.", "Start it.")
        yield {}

    monkeypatch.setattr(stream, "events", events)
    await member.say("Hello")
    assert "The inference worker is not running." in member.page["status"]
    assert member.page["prompt"] == "Hello"
    assert member.page["chat"] == "" and not await Conversation.objects.aexists(), "nothing was said"


async def test_a_stopped_answer_keeps_what_was_said(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        yield {"kind": "piece", "side": 0, "text": "Half"}
        yield {"kind": "finished", "cancelled": True}

    monkeypatch.setattr(stream, "events", events)
    await member.say("Hello")
    assert "Stopped" in member.page["status"]
    assert "Half" in member.page["now"] and "stopped" in member.page["now"]


def test_every_event_of_the_pane_takes_the_one_way_that_the_gate_opens() -> None:
    """An event beside Gradio's queue is sent to an address that the gate refuses: so Stop once did nothing."""
    from webapp.playground.pane import build

    events = build().config["dependencies"]
    assert len(events) > 10
    assert all(event["queue"] is not False for event in events)
