"""Conversations leave as JSONL, in two forms that tools of the field read, with what is known of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.playground.chatting import Member, Worker
from tests.webapp.runs.test_rollouts_of_a_run import content_of
from webapp.accounts.models import Team, User
from webapp.playground.exporting import lines_of
from webapp.playground.models import Conversation, Turn
from webapp.playground.selectors import DEMO_BASE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def member(owner: User, team: Team, worker: Worker) -> Member:
    return Member(owner, team)


@sync_to_async
def exported(client: Client, address: str) -> list[dict[str, Any]]:
    answer = client.get(address)
    assert answer.status_code == 200 and "attachment" in answer["Content-Disposition"]
    return [json.loads(line) for line in content_of(answer).splitlines()]


async def test_a_conversation_is_two_lines_of_messages_with_votes_policies_and_sampling(
        member: Member, owner_client: Client) -> None:
    member.system = "Be brief."
    await member.say("Ist es so? — ja", temperature=0.5)
    turn = await Turn.objects.aget()
    await sync_to_async(owner_client.post)(f"/playground/{turn.conversation_id}/vote/",
                                           {"turn": turn.pk, "outcome": "b", "principle-toxicity": "b"})
    left, right = await exported(owner_client, f"/playground/{turn.conversation_id}/export/")
    assert left["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Ist es so? — ja"},
        {"role": "assistant", "content": "<b>No"}]
    assert right["messages"][-1]["content"] == "Yes ${1}" and (left["side"], right["side"]) == ("a", "b")
    assert right["policy"] == {"key": DEMO_BASE, "name": "Demo world (base)"}
    [said] = right["turns"]
    assert said["sampling"] == {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 64, "seed": 7}
    assert (said["reward"], said["scores"]) == (0.6, {"toxicity": 1.5})
    [vote] = said["votes"]
    assert (vote["outcome"], vote["blind"], vote["by_principle"]) == ("b", False, {"toxicity": "b"})


async def test_sharegpt_has_its_own_words_for_who_speaks(member: Member, owner_client: Client) -> None:
    member.system = "Be brief."
    await member.say("Is it so?")
    left, _ = await exported(owner_client, "/playground/export/?as=sharegpt")
    assert left["conversations"] == [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Is it so?"},
                                     {"from": "gpt", "value": "<b>No"}]
    assert "messages" not in left


async def test_of_several_attempts_the_one_that_is_shown_leaves(
        member: Member, worker: Worker, owner_client: Client) -> None:
    await member.say("First?")
    worker.texts = ("Other", "Another")
    await member.again()
    left, _ = await exported(owner_client, f"/playground/{member.page['chat']}/export/")
    assert [message["content"] for message in left["messages"]] == ["First?", "Other"]


async def test_what_is_still_blind_leaves_without_names_and_rewards(member: Member, owner_client: Client) -> None:
    member.blind = True
    await member.say("Is it so?")
    for line in await exported(owner_client, "/playground/export/"):
        assert line["policy"] is None and line["blind"] is True
        assert "reward" not in line["turns"][0] and "scores" not in line["turns"][0]


async def test_the_whole_teams_conversations_leave_and_nobody_elses(
        member: Member, teammate_client: Client, stranger_client: Client, other_team: Team) -> None:
    await member.say("Is it so?")
    assert len(await exported(teammate_client, "/playground/export/")) == 2
    assert await exported(stranger_client, "/playground/export/") == []
    answer = await sync_to_async(stranger_client.get)(f"/playground/{member.page['chat']}/export/")
    assert answer.status_code == 404


@pytest.mark.parametrize("address", ["/playground/export/?as=csv", "/playground/export/?as="])
def test_an_unknown_form_is_not_found(address: str, owner_client: Client) -> None:
    assert owner_client.get(address).status_code == 404


def test_many_conversations_ask_as_much_of_the_database_as_one(team: Team, owner: User) -> None:
    counts = []
    for _ in range(2):
        for number in range(5):
            conversation = Conversation.objects.create(team=team, owner=owner, title=str(number))
            Turn.objects.create(conversation=conversation, position=1, prompt="Why?")
        with CaptureQueriesContext(connection) as queries:
            lines = list(lines_of(Conversation.objects.of(team), "openai"))
        counts.append((len(lines), len(queries)))
    assert [lines for lines, _ in counts] == [10, 20] and counts[0][1] == counts[1][1]


