"""Principles are made, reworded into new versions, and archived; a wording never changes."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair
from webapp.principles.models import Principle, PrincipleVersion

FIELDS = {"statement": "more polite, and never curt", "polarity": "virtue", "description": "", "symbol": "★",
          "hue": "#228833"}


@pytest.fixture
def toxicity(team: Team) -> Principle:
    return Principle.objects.get(team=team, name="toxicity")


def edit(client: Client, principle: Principle, **changes: str) -> None:
    latest = principle.versions.first()
    assert latest
    same = {"statement": latest.statement, "polarity": principle.polarity, "description": principle.description,
            "symbol": principle.symbol, "hue": principle.hue}
    answer = client.post(reverse("principles:edit", args=[principle.pk]), same | changes)
    assert answer.status_code == 302, answer.context["form"].errors


def test_a_new_principle_starts_at_version_one(owner_client: Client, owner: User, team: Team) -> None:
    answer = owner_client.post(reverse("principles:new"), FIELDS | {"name": "politeness"})

    version = PrincipleVersion.objects.get(principle__team=team, principle__name="politeness")
    assert answer.headers["Location"] == reverse("principles:detail", args=[version.principle_id])
    assert (version.number, version.statement, version.created_by) == (1, "more polite, and never curt", owner)


@pytest.mark.parametrize(("typed", "stored"), [
    ("Which response is more polite?", "more polite"), ("which response is … more\n polite ", "more polite")])
def test_the_question_around_a_statement_is_not_asked_twice(
    owner_client: Client, team: Team, typed: str, stored: str,
) -> None:
    owner_client.post(reverse("principles:new"), FIELDS | {"name": "politeness", "statement": typed})

    assert PrincipleVersion.objects.get(principle__name="politeness").statement == stored


@pytest.mark.parametrize(("changes", "field", "message"), [
    ({"name": "Politeness!"}, "name", "lower-case letters"),
    ({"name": "toxicity"}, "name", "has a principle with this name"),
    ({"name": "x", "statement": " "}, "statement", "required"),
    ({"name": "x", "statement": "y" * 2001}, "statement", "2000"),
    ({"name": "x", "hue": "red"}, "hue", "valid"),
    ({"name": "x", "symbol": "<b>"}, "symbol", "valid choice"),
])
def test_what_cannot_be_is_refused_at_its_field(
    owner_client: Client, changes: dict[str, str], field: str, message: str,
) -> None:
    answer = owner_client.post(reverse("principles:new"), FIELDS | changes)

    assert message in str(answer.context["form"].errors[field])
    assert "Please correct" in answer.content.decode()


def test_another_wording_is_another_version_and_the_old_one_stays(owner_client: Client, toxicity: Principle) -> None:
    before = toxicity.versions.get()

    edit(owner_client, toxicity, statement="kinder")

    assert list(toxicity.versions.values_list("number", "statement")) == [(2, "kinder"), (1, before.statement)]


def test_another_look_is_no_other_version(owner_client: Client, toxicity: Principle) -> None:
    edit(owner_client, toxicity, hue="#000000", symbol="☀", description="Kind.")

    toxicity.refresh_from_db()
    assert (toxicity.hue, toxicity.symbol, toxicity.versions.count()) == ("#000000", "☀", 1)


def test_an_edit_says_how_many_labels_stay_with_the_old_wording(
    owner_client: Client, toxicity: Principle, team: Team,
) -> None:
    pair = Pair.objects.create(team=team, digest="0" * 32, excerpt="?")
    Label.objects.create(team=team, pair=pair, principle_version=toxicity.versions.get(), judge="rule",
                         prompt_version="", probability=0.9)

    page = owner_client.get(reverse("principles:edit", args=[toxicity.pk])).content.decode()

    assert "Version 1 has 1 label." in page
    assert "2 calls" in page


def test_an_old_wording_can_be_taken_up_again(owner_client: Client, toxicity: Principle) -> None:
    first = toxicity.versions.get().statement
    edit(owner_client, toxicity, statement="kinder")

    page = owner_client.get(reverse("principles:edit", args=[toxicity.pk]), {"from": "1"})

    assert page.context["form"].initial["statement"] == first


def test_an_archived_principle_leaves_the_list_and_can_come_back(owner_client: Client, toxicity: Principle) -> None:
    address = reverse("principles:archive", args=[toxicity.pk])
    owner_client.post(address, {"archived": "1"})
    assert toxicity.pk not in shown(owner_client)
    assert shown(owner_client, "?archived") == {toxicity.pk}

    owner_client.post(address, {"archived": "0"})
    assert toxicity.pk in shown(owner_client)


def shown(client: Client, query: str = "") -> set[int]:
    cards = client.get(reverse("principles:list") + query).context["cards"]
    return {card.principle.pk for card in cards}
