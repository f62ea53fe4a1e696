"""The page of a judge shows the question word for word, in every layout, about any pair, with its cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from webapp.accounts.models import Team, User
from webapp.judges.models import Connection
from webapp.judges.services import connection_create
from webapp.labels.models import Pair, PairText
from webapp.principles.models import Principle


@pytest.fixture
def priced(team: Team, owner: User) -> Connection:
    return connection_create(team=team, user=owner, name="Mini", kind="openai", model="gpt-4o-mini")


def shown(client: Client, judge: Connection, **fields: Any) -> Any:
    answer = client.get(reverse("judges:detail", args=[judge.pk]), fields)
    assert answer.status_code == 200
    return answer.context["question"]


def principle_of(team: Team, name: str) -> int:
    return Principle.objects.get(team=team, name=name).pk


def test_the_page_opens_with_a_question_of_the_demo_world(priced: Connection, owner_client: Client) -> None:
    question = shown(owner_client, priced)

    assert "=== Option A ===\nNo, the bird of Brisk" in question.shown
    assert "=== Option B ===\nNo, the bird of Brisk" in question.swapped
    assert question.version == "1"


def test_a_stored_pair_and_a_principle_are_chosen(priced: Connection, team: Team, owner_client: Client) -> None:
    pair = Pair.objects.create(team=team, digest="d" * 32, excerpt="Why?")
    PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": "Why?"}], response_a="Since.",
                            response_b="Because.")

    question = shown(owner_client, priced, principle=principle_of(team, "toxicity"), pair=pair.pk)
    assert "Human: Why?" in question.shown
    assert "toxic" in question.shown


def test_another_layout_is_another_version_of_the_question(
        priced: Connection, team: Team, owner_client: Client) -> None:
    fields = {"principle": principle_of(team, "bias"), "layout": "shared_prefix", "few_shot": "2", "reasoning": "on"}

    question = shown(owner_client, priced, **fields)
    assert question.version == "1.shared.ex2.think"
    assert "Answer: A" in question.shown


def test_more_pairs_cost_more(priced: Connection, team: Team, owner_client: Client) -> None:
    chosen = principle_of(team, "bias")
    few, many = (shown(owner_client, priced, principle=chosen, pairs=pairs).estimate for pairs in ("100", "1000"))

    assert (few.calls, many.calls) == (200, 2000)
    assert many.money.likely == pytest.approx(10 * few.money.likely, rel=1e-4)


def test_a_pair_of_another_team_is_not_shown(
        priced: Connection, team: Team, other_team: Team, owner_client: Client) -> None:
    pair = Pair.objects.create(team=other_team, digest="d" * 32, excerpt="Secret?")
    PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": "Secret?"}], response_a="a", response_b="b")

    assert shown(owner_client, priced, principle=principle_of(team, "bias"), pair=pair.pk) is None


def test_what_cannot_be_read_in_the_address_is_said_and_breaks_nothing(
        priced: Connection, owner_client: Client) -> None:
    assert shown(owner_client, priced, principle="x", few_shot="99") is None


def test_rules_read_no_question(team: Team, owner: User, owner_client: Client) -> None:
    rules = connection_create(team=team, user=owner, name="Rules", kind="rule")

    assert shown(owner_client, rules) is None
