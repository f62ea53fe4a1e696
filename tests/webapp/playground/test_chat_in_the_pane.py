"""A prompt's way through the pane: what is refused, what is sent, what is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from webapp.accounts.models import Team, User
from webapp.playground import pane, stream
from webapp.playground.conversation import Conversation
from webapp.playground.gate import CALLER, Caller
from webapp.playground.selectors import DEMO_BASE
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)
SCORES = {"kind": "rewards", "totals": [0.1, 0.6],
          "principles": [{"name": "toxicity", "scores": [-1.0, 1.5], "parts": [-0.5, 0.7]}]}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[stream.Request]:
    """What the worker is asked; it answers at once."""
    requests: list[stream.Request] = []

    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        requests.append(request)
        yield {"kind": "started"}
        for side, text in ((0, "<b>No"), (1, "Yes ${1}")):
            yield {"kind": "piece", "side": side, "text": text}
            yield {"kind": "answer", "side": side, "text": text, "tokens": 2, "seconds": 0.1, "ended": True}
        yield SCORES
        yield {"kind": "finished", "cancelled": False}

    monkeypatch.setattr(stream, "events", events)
    return requests


@pytest.fixture
def say(owner: User, team: Team) -> Callable[..., Any]:
    """Send a prompt as the owner; returns all that the pane showed."""
    request = SimpleNamespace(request=SimpleNamespace(scope={CALLER: Caller(owner.pk, "owner", team.pk)}))

    async def send(prompt: str, left: str = DEMO_BASE, right: str = DEMO_BASE, talk: Conversation | None = None,
                   **more: Any) -> list[tuple[Any, ...]]:
        settings = {"scorer": "auto", "temperature": 1.0, "top_p": 1.0, "longest": 64, "seed": 7} | more
        talk = talk or Conversation((left, right))
        return [shown async for shown in pane.chat(prompt, left, right, **settings, talk=talk, request=request)]

    return send


async def test_both_answers_stream_and_get_their_rewards(
    say, asked, team: Team, finish_run: Callable[..., Run]
) -> None:
    run = await sync_to_async(finish_run)(team)
    shown = await say("Is it so?", right=f"tuned:{run.pk}")
    left, right, status, talk = shown[-1][:4]
    assert "&lt;b&gt;No" in left
    assert "<b>" not in left, "what a policy says is text"
    assert "Yes ${1}" in right
    assert "−1.00" in left
    assert "+2.50" in right, "the difference"
    assert "hue-toxicity" in right
    assert "seed 7" in status
    assert [turn.prompt for turn in talk.turns] == ["Is it so?"]
    assert asked[0].scorer == run.pk


async def test_each_policy_remembers_its_own_answers(say, asked) -> None:
    talk = (await say("First?"))[-1][3]
    await say("Second?", talk=talk)
    contents = [[message["content"] for message in dialogue] for dialogue in asked[1].dialogues]
    assert contents == [["First?", "<b>No", "Second?"], ["First?", "Yes ${1}", "Second?"]]


async def test_other_policies_start_a_new_conversation(say, asked) -> None:
    talk = (await say("First?"))[-1][3]
    talk.policies = ("tuned:1", DEMO_BASE)
    await say("Second?", talk=talk)
    assert len(asked[1].dialogues[0]) == 1


async def test_a_forged_policy_of_another_team_is_refused(
    say, asked, other_team: Team, finish_run: Callable[..., Run]
) -> None:
    theirs = await sync_to_async(finish_run)(other_team)
    shown = await say("Tell me", right=f"tuned:{theirs.pk}")
    assert "not available to your team" in shown[-1][2]
    assert asked == []


async def test_another_teams_run_does_not_score(say, asked, other_team: Team, finish_run: Callable[..., Run]) -> None:
    theirs = await sync_to_async(finish_run)(other_team)
    await say("Tell me", scorer=str(theirs.pk))
    assert asked[0].scorer is None


@pytest.mark.parametrize(("prompt", "message"), [("   ", "The prompt is empty"), ("x" * 8001, "8,001 characters")])
async def test_a_prompt_that_cannot_be_used_is_refused(say, asked, prompt: str, message: str) -> None:
    shown = await say(prompt)
    assert message in shown[-1][2]
    assert shown[-1][-1] == prompt, "it stays in the box"
    assert asked == []


async def test_settings_stay_within_their_bounds(say, asked) -> None:
    await say("Go", temperature=99, top_p=0, longest=10**9, seed=None)
    sampling = asked[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (2.0, 0.05, 1024)
    assert 0 <= sampling.seed < 2**31


async def test_a_failure_is_said_and_the_prompt_kept(say, monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        raise stream.ChatFailed("The inference worker is not running.", "Start it.")
        yield {}

    monkeypatch.setattr(stream, "events", events)
    shown = await say("Hello")
    assert "The inference worker is not running." in shown[-1][2]
    assert shown[-1][-1] == "Hello"


async def test_a_stopped_answer_keeps_what_was_said(say, monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        yield {"kind": "piece", "side": 0, "text": "Half"}
        yield {"kind": "finished", "cancelled": True}

    monkeypatch.setattr(stream, "events", events)
    shown = await say("Hello")
    assert "Stopped" in shown[-1][2]
    assert "Half" in shown[-1][0]
    assert shown[-1][3].turns[0].answers[0].text == "Half"
