"""The pages of saved judges: the list, the form with its refusals, one judge, its end."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.judges.conftest import KEY
from webapp.accounts.models import Team, User
from webapp.judges.keys import saved_key
from webapp.judges.models import Connection
from webapp.judges.prices import LIST_PRICES, list_price
from webapp.labels.prices import Price

FORM = {"name": "Mini", "kind": "openai", "model": "gpt-4o-mini", "concurrency": "16", "requests_per_minute": "0",
        "tokens_per_minute": "0"}


def send(client: Client, *, to: str = "", **changes: str) -> Any:
    return client.post(to or reverse("judges:new"), FORM | changes)


def errors_of(answer: Any) -> dict[str, str]:
    return {name: " ".join(messages) for name, messages in answer.context["form"].errors.items()}


def test_a_team_without_judges_is_told_what_one_is(owner_client: Client) -> None:
    assert "No saved judges yet" in owner_client.get(reverse("judges:list")).content.decode()


def test_a_judge_is_saved_with_its_key(owner_client: Client, team: Team) -> None:
    answer = send(owner_client, key=KEY)

    made = Connection.objects.of(team).get()
    assert answer.headers["Location"] == reverse("judges:detail", args=[made.pk])
    assert saved_key(team=team, judge=made.settings()) == KEY
    assert "Mini" in owner_client.get(reverse("judges:list")).content.decode()


@pytest.mark.parametrize(("changes", "field"), [
    ({"name": ""}, "name"),
    ({"model": ""}, "model"),
    ({"kind": "server"}, "base_url"),
    ({"kind": "server", "base_url": "ftp://judge.example/v1"}, "base_url"),
    ({"kind": "server", "base_url": "https://me:pw@judge.example/v1"}, "base_url"),
    ({"base_url": "https://proxy.example/v1"}, "base_url"),
    ({"key": "two words"}, "key"),
    ({"concurrency": "0"}, "concurrency"),
    ({"price_in": "-1"}, "price_in"),
])
def test_what_is_wrong_is_said_at_its_field(
        changes: dict[str, str], field: str, owner_client: Client, team: Team) -> None:
    assert field in errors_of(send(owner_client, **changes))
    assert not Connection.objects.of(team).exists()


def test_two_judges_of_a_team_have_two_names(owner_client: Client, team: Team) -> None:
    send(owner_client)

    assert "with this name" in errors_of(send(owner_client))["name"]


def test_the_key_does_not_follow_a_judge_to_another_address(judge: Connection, owner_client: Client) -> None:
    address = reverse("judges:edit", args=[judge.pk])
    moved = {"kind": "server", "base_url": "https://other.example/v1", "model": "m"}

    assert "belongs to the old address" in errors_of(send(owner_client, to=address, **moved))["key"]
    assert send(owner_client, to=address, **moved, key="sk-new").status_code == 302
    judge.refresh_from_db()
    assert saved_key(team=judge.team, judge=judge.settings()) == "sk-new"


def test_a_key_can_be_forgotten(judge: Connection, owner_client: Client) -> None:
    send(owner_client, to=reverse("judges:edit", args=[judge.pk]), kind="server", base_url=judge.base_url, model="m",
         forget_key="on")

    judge.refresh_from_db()
    assert not judge.has_key


def test_a_deleted_judge_is_gone(judge: Connection, owner_client: Client) -> None:
    owner_client.post(reverse("judges:delete", args=[judge.pk]))

    assert not Connection.objects.exists()


def test_the_list_takes_as_many_queries_for_many_judges(
        owner_client: Client, team: Team, owner: User, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        Connection.objects.create(team=team, name=f"Judge {number}", model=f"model-{number}")
    with django_assert_max_num_queries(10):
        owner_client.get(reverse("judges:list"))


def test_a_list_price_counts_for_openai_until_the_team_gives_its_own(team: Team) -> None:
    mini = Connection(team=team, name="Mini", kind="openai", model="gpt-4o-mini")
    assert mini.price == Price(0.15, 0.60)

    mini.price_in = 0.10
    assert mini.price == Price(0.10, 0.60)


def test_a_server_of_ones_own_has_the_price_that_was_given_or_none(team: Team) -> None:
    ours = Connection(team=team, name="vLLM", kind="server", model="gpt-4o-mini", base_url="http://gpu:8000/v1")
    assert ours.price is None

    ours.price_in = ours.price_out = 0.0
    assert ours.price == Price(0.0, 0.0)


def test_a_dated_model_costs_what_its_family_costs() -> None:
    assert list_price("gpt-4o-2024-08-06") == LIST_PRICES["gpt-4o"]
    assert list_price("gpt-4o-mini-2024-07-18") == LIST_PRICES["gpt-4o-mini"]
    assert list_price("a-model-nobody-knows") is None
