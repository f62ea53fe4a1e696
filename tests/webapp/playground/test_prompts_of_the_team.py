"""The system prompt of a conversation, prompts that the team saves, the seed, and a chat's place in the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.webapp.playground.chatting import Member, Worker
from webapp.accounts.models import Team, User
from webapp.playground import pane, saved_prompts, stream
from webapp.playground.models import SavedPrompt
from webapp.playground.view import OUTPUTS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(owner: User, team: Team, worker: Worker) -> Member:
    return Member(owner, team)


async def test_both_policies_get_the_system_prompt_first_and_it_stays(
        member: Member, worker: Worker, owner: User, team: Team) -> None:
    member.system = " Be brief. "
    await member.say("First?")
    member.system = "Be long."  # the box is locked; a request that is made by hand changes nothing
    await member.say("Second?")
    for request in worker.requests:
        assert all(dialogue[0] == {"role": "system", "content": "Be brief."} for dialogue in request.dialogues)
    again = Member(owner, team, chat=member.page["chat"])
    shown = await again.open()
    assert shown["system"].value == "Be brief." and shown["system"].interactive is False


async def test_a_system_prompt_that_is_too_long_is_refused(member: Member, worker: Worker) -> None:
    member.system = "x" * 4001
    await member.say("First?")
    assert "4,001 characters" in member.page["status"] and worker.requests == []


async def test_the_seed_is_on_the_turn_and_in_the_box_after_a_reload(
        member: Member, owner: User, team: Team) -> None:
    await member.say("First?", seed=41)
    assert "seed 41" in member.page["now"]
    again = Member(owner, team, chat=member.page["chat"])
    assert (await again.open())["seed"] == 41


def test_a_prompt_is_saved_once_for_the_team_and_deleted(
        team: Team, owner: User, teammate: User, other_team: Team) -> None:
    for user in (owner, teammate):
        assert saved_prompts.prompt_save(team_id=team.pk, user_id=user.pk, text=" Is it\nso? ") is None
    [(title, key)] = saved_prompts.choices_of(team.pk)
    assert (title, saved_prompts.text_of(team.pk, int(key))) == ("Is it so?", "Is it\nso?")
    assert saved_prompts.choices_of(other_team.pk) == [] and saved_prompts.text_of(other_team.pk, int(key)) == ""
    assert not saved_prompts.prompt_delete(team_id=other_team.pk, pk=int(key))
    assert saved_prompts.prompt_delete(team_id=team.pk, pk=int(key)) and not SavedPrompt.objects.exists()


def test_an_empty_prompt_and_one_too_many_are_refused_in_words(
        team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_prompts, "MOST_SAVED", 1)
    assert saved_prompts.prompt_save(team_id=team.pk, user_id=owner.pk, text="  ") is not None
    saved_prompts.prompt_save(team_id=team.pk, user_id=owner.pk, text="One")
    refusal = saved_prompts.prompt_save(team_id=team.pk, user_id=owner.pk, text="Two")
    assert refusal and "1 saved prompts" in refusal[0] and SavedPrompt.objects.count() == 1


async def test_a_saved_prompt_is_picked_into_the_box_and_a_forged_key_picks_nothing(
        member: Member, other_team: Team) -> None:
    await pane.prompt_saved("Is it so?", member.request)
    theirs = await SavedPrompt.objects.acreate(team=other_team, text="Secret")
    own = await SavedPrompt.objects.aget(text="Is it so?")

    async def picked(key: str | None) -> Any:
        return dict(zip(OUTPUTS, await pane.prompt_picked(key, member.request), strict=True))["prompt"]

    assert await picked(str(own.pk)) == "Is it so?"
    for key in (str(theirs.pk), "x", None):
        assert await picked(key) == pane.gr.skip()
    await pane.prompt_deleted(str(theirs.pk), member.request)
    assert await SavedPrompt.objects.filter(pk=theirs.pk).aexists()


@pytest.mark.parametrize(("ahead", "words"), [(1, "1 chat is before yours."), (2, "2 chats are before yours.")])
async def test_a_waiting_chat_says_how_many_are_before_it(
        ahead: int, words: str, member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        yield {"kind": "waiting", "ahead": ahead}
        yield {"kind": "finished", "cancelled": True}

    monkeypatch.setattr(stream, "events", events)
    assert any(words in shown.get("status", "") for shown in await member.say("Hello"))
