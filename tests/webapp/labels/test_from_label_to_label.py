"""A decision leads to the next label of the same filter; the page says where it stands and what a person decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from webapp.accounts.models import Team
from webapp.labels.models import Label

MakeLabels = Callable[..., list[Label]]


@pytest.fixture
def make_labels(team: Team, make_pair: Any, make_label: Any) -> MakeLabels:
    def make(count: int, principle: str = "factuality") -> list[Label]:
        return [make_label(make_pair(team, f"{principle} {number}"), principle) for number in range(count)]

    return make


def decide(client: Client, label: Label, action: str, query: str = "", **more: object) -> str:
    """Decide and return the address that the server leads to."""
    address = client.post(f"/labels/{label.pk}/judge/?{query}", {"action": action, **more}).url
    assert isinstance(address, str)
    return address


def test_the_next_label_of_the_filter_follows_a_decision(reviewer_client: Client, make_labels: MakeLabels) -> None:
    oldest, newest = make_labels(2)
    make_labels(1, "toxicity")
    assert decide(reviewer_client, newest, "b", "principle=factuality") == f"/labels/{oldest.pk}/?principle=factuality"
    assert Label.objects.get(pk=newest.pk).effective_probability == 0.0


def test_a_label_that_its_decision_takes_out_of_the_filter_still_leads_on(
        reviewer_client: Client, make_labels: MakeLabels) -> None:
    oldest, middle, newest = make_labels(3)
    assert decide(reviewer_client, newest, "a", "review=open") == f"/labels/{middle.pk}/?review=open"
    assert decide(reviewer_client, middle, "tie", "review=open") == f"/labels/{oldest.pk}/?review=open"
    assert decide(reviewer_client, oldest, "approve", "review=open") == f"/labels/{oldest.pk}/?review=open"
    page = reviewer_client.get(f"/labels/{oldest.pk}/?review=open").content.decode()
    assert "This was the last label of the list." in page


def test_what_was_just_decided_can_be_gone_back_to(reviewer_client: Client, make_labels: MakeLabels) -> None:
    _, newest = make_labels(2)
    page = reviewer_client.get(decide(reviewer_client, newest, "b", "principle=factuality")).content.decode()
    assert "Saved: B better (you)." in page
    assert f'<a href="/labels/{newest.pk}/?principle=factuality" data-key="z">' in page


@pytest.mark.parametrize(("action", "more"), [("undo", {}), ("exact", {"probability": "7"}), ("nonsense", {})])
def test_what_decides_nothing_stays(
        reviewer_client: Client, make_labels: MakeLabels, action: str, more: dict[str, str]) -> None:
    _, newest = make_labels(2)
    assert decide(reviewer_client, newest, action, **more) == f"/labels/{newest.pk}/"


def test_staying_is_remembered(reviewer_client: Client, make_labels: MakeLabels) -> None:
    oldest, newest = make_labels(2)
    answer = reviewer_client.post(f"/labels/{newest.pk}/options/?review=open", {"stay": "1"})
    assert answer.url == f"/labels/{newest.pk}/?review=open"
    assert decide(reviewer_client, newest, "b") == f"/labels/{newest.pk}/"
    assert 'name="stay" value="0" aria-pressed="true"' in reviewer_client.get(f"/labels/{newest.pk}/").content.decode()
    reviewer_client.post(f"/labels/{newest.pk}/options/", {"stay": "0"})
    assert decide(reviewer_client, newest, "a") == f"/labels/{oldest.pk}/"


@pytest.mark.parametrize(("sort", "positions"), [("", [3, 2, 1]), ("unsure", [2, 1, 3]), ("sure", [2, 3, 1])])
def test_the_place_among_the_labels_of_the_filter_is_shown(
        reviewer_client: Client, team: Team, make_pair: Any, make_label: Any, sort: str, positions: list[int]) -> None:
    labels = [make_label(make_pair(team, f"q{number}"), "factuality", p, p)
              for number, p in enumerate([0.7, 0.55, 0.95])]
    for label, position in zip(labels, positions, strict=True):
        page = reviewer_client.get(f"/labels/{label.pk}/?sort={sort}").content.decode()
        assert f'role="status">{position} of 3</span>' in page


def test_a_label_outside_the_filter_has_no_position(reviewer_client: Client, make_labels: MakeLabels) -> None:
    _, newest = make_labels(2)
    decide(reviewer_client, newest, "a")
    page = reviewer_client.get(f"/labels/{newest.pk}/?review=open").content.decode()
    assert 'role="status">1 label</span>' in page


def test_a_person_s_decision_stands_on_the_bar_and_in_words(
        reviewer_client: Client, teammate_client: Client, label: Label) -> None:
    decide(reviewer_client, label, "b")
    own, others = (client.get(f"/labels/{label.pk}/").content.decode() for client in (reviewer_client, teammate_client))
    assert "B better (you)" in own
    assert "B better (a person)" in others and "B better (owner)" in others
    assert 'aria-label="a person: B better; the judge: A better with probability 0.80"' in own
    assert own.count('class="person"') == 2, "on the label in hand and in the list of the pair's labels"
    assert "B better (you)" in reviewer_client.get("/labels/").content.decode()


def test_a_decision_where_the_judge_failed_has_a_bar(reviewer_client: Client, pair: Any, make_label: Any) -> None:
    failed = make_label(pair, "detail", None, None, probability=None, error="No answer.")
    decide(reviewer_client, failed, "exact", probability="0.35")
    page = reviewer_client.get(f"/labels/{failed.pk}/").content.decode()
    assert 'aria-label="a person: B better with probability 0.65"' in page
    assert "B better, 0.65 (you)" in page


def test_more_labels_take_no_more_queries(reviewer_client: Client, make_labels: MakeLabels) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            reviewer_client.get(f"/labels/{first.pk}/?sort=unsure")
        return len(captured)

    first, = make_labels(1)
    few = queries()
    make_labels(20, "toxicity")
    assert queries() == few
