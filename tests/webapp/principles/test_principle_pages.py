"""The list and the page of a principle: what they tell, to whom, and at what price."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from training.judges.judge import Verdict
from webapp.accounts.models import Team
from webapp.labels.models import Label, Pair
from webapp.principles.models import Principle, PrincipleVersion
from webapp.runs.models import Stage
from webapp.runs.principle_page.views import orders_disagree


@pytest.fixture
def toxicity(team: Team) -> Principle:
    return Principle.objects.get(team=team, name="toxicity")


def add_labels(version: PrincipleVersion, team: Team, count: int, flips: int = 0) -> None:
    for number in range(count):
        pair = Pair.objects.create(team=team, digest=f"{version.pk:016d}{number:016d}", excerpt="?")
        Label.objects.create(team=team, pair=pair, principle_version=version, judge="rule", prompt_version="",
                             probability=0.5, p_shown=0.6, p_swapped=0.4, order_flip=number < flips)


def test_a_card_shows_polarity_labels_flips_and_accuracy(
    owner_client: Client, toxicity: Principle, team: Team,
) -> None:
    add_labels(toxicity.versions.get(), team, 4, flips=1)
    for number, accuracy in enumerate((0.6, 0.873)):
        Stage.objects.create(team=team, identity=str(number), name="preference_model:toxicity", kind="preference_model",
                             principle="toxicity", status=Stage.Status.SUCCEEDED, summary={"accuracy": accuracy},
                             finished_at=timezone.now())

    answer = owner_client.get(reverse("principles:list"))

    card = next(card for card in answer.context["cards"] if card.principle == toxicity)
    assert card.wording and (card.wording.labels, card.wording.flip_rate, card.accuracy) == (4, 0.25, 0.873)
    page = answer.content.decode()
    assert "a higher score means <strong>less</strong> toxicity" in page
    assert "87%" in page and "25%" in page


def test_a_head_of_a_newer_shared_trunk_tells_its_accuracy(owner_client: Client, team: Team) -> None:
    then = timezone.now()
    for name, summary, at in (("toxicity", {"accuracy": 0.6}, then),
                              ("", {"cards": {"toxicity": {"accuracy": 0.81}}}, then + timedelta(hours=1))):
        Stage.objects.create(team=team, identity=f"of {name}", name="preference_model", kind="preference_model",
                             principle=name, status=Stage.Status.SUCCEEDED, summary=summary, finished_at=at)
    cards = {card.principle.name: card.accuracy
             for card in owner_client.get(reverse("principles:list")).context["cards"]}
    assert cards["toxicity"] == 0.81 and cards["empathy"] is None


def test_another_teams_models_and_labels_do_not_count(
    owner_client: Client, toxicity: Principle, other_team: Team,
) -> None:
    theirs = Principle.objects.get(team=other_team, name="toxicity")
    add_labels(theirs.versions.get(), other_team, 3)
    Stage.objects.create(team=other_team, identity="x", name="preference_model:toxicity", kind="preference_model",
                         principle="toxicity", status=Stage.Status.SUCCEEDED, summary={"accuracy": 0.9},
                         finished_at=timezone.now())

    card = next(card for card in owner_client.get(reverse("principles:list")).context["cards"]
                if card.principle == toxicity)
    assert card.wording and (card.wording.labels, card.accuracy) == (0, None)


def test_the_list_takes_as_many_queries_for_many_principles_and_labels(owner_client: Client, team: Team) -> None:
    owner_client.get(reverse("principles:list"))
    with CaptureQueriesContext(connection, ) as few:
        owner_client.get(reverse("principles:list"))
    for number in range(12):
        principle = Principle.objects.create(team=team, name=f"more-{number}")
        version = PrincipleVersion.objects.create(principle=principle, number=1, statement="better")
        add_labels(version, team, 3)

    with CaptureQueriesContext(connection) as many:
        owner_client.get(reverse("principles:list"))

    assert len(many) == len(few)


def test_a_principles_page_takes_as_many_queries_for_many_versions(owner_client: Client, toxicity: Principle) -> None:
    address = reverse("principles:detail", args=[toxicity.pk])
    owner_client.get(address)
    with CaptureQueriesContext(connection) as few:
        owner_client.get(address)
    for number in range(2, 20):
        PrincipleVersion.objects.create(principle=toxicity, number=number, statement=f"better {number}")

    with CaptureQueriesContext(connection) as many:
        assert "version 19" in owner_client.get(address).content.decode()

    assert len(many) == len(few)


def test_a_principle_without_any_version_breaks_nothing(owner_client: Client, team: Team) -> None:
    bare = Principle.objects.create(team=team, name="bare")

    assert owner_client.get(reverse("principles:list")).status_code == 200
    assert owner_client.get(reverse("principles:detail", args=[bare.pk])).status_code == 200
    assert owner_client.get(reverse("principles:edit", args=[bare.pk])).status_code == 200


@pytest.mark.parametrize("name", ["detail", "edit", "archive", "try"])
def test_a_stranger_finds_nothing(stranger_client: Client, toxicity: Principle, name: str) -> None:
    address = reverse(f"principles:{name}", args=[toxicity.pk])

    assert stranger_client.post(address).status_code in {404, 405}
    if name in {"detail", "edit"}:
        assert stranger_client.get(address).status_code == 404


def test_who_is_not_logged_in_is_asked_to(anonymous_client: Client) -> None:
    assert reverse("login") in anonymous_client.get(reverse("principles:list")).headers["Location"]


@pytest.mark.parametrize(("shown", "swapped", "disagree"), [
    (0.745, 0.472, True), (0.6, 0.4, True), (0.745, 0.6, False), (0.2, 0.4, False), (0.5, 0.9, False),
    (0.9, None, False), (None, None, False)])
def test_orders_that_name_different_winners_are_no_verdict(
        shown: float | None, swapped: float | None, disagree: bool) -> None:
    assert orders_disagree(shown, swapped) is disagree


def test_the_page_says_that_the_orders_disagree(
        owner_client: Client, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.judges.trial.try_principle", lambda **_: Verdict(
        0.6085, 0.745, 0.472, 0.273, "", 0, "rule"))
    principle = Principle.objects.get(team=team, name="factuality")
    page = owner_client.post(f"/principles/{principle.pk}/try/", {
        "prompt": "Where is Avela?", "a": "North.", "b": "South.", "kind": "rule"}).content.decode()
    assert "The orders disagree: no clear winner." in page and "A is more" not in page
