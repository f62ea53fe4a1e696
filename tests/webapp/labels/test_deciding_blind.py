"""The Blind switch: the judge's answer is hidden until one has decided, and such a decision is recorded as blind."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import logged_in
from tests.webapp.labels.conftest import MakeLabel
from webapp.accounts.models import User
from webapp.labels.models import Label

SHOWS_THE_JUDGE = ('class="label-bar', "Judge: probability that A is better", 'value="approve"', "a person chose this")


@pytest.fixture
def blind_client(reviewer_client: Client, label: Label) -> Client:
    reviewer_client.post(f"/labels/{label.pk}/options/", {"blind": "1"})
    return reviewer_client


def page_of(client: Client, label: Label) -> str:
    return client.get(f"/labels/{label.pk}/").content.decode()


def decide(client: Client, label: Label, action: str, **more: str) -> None:
    client.post(f"/labels/{label.pk}/judge/", {"action": action, **more})


def test_nothing_of_the_judge_is_on_the_page_until_one_has_decided(blind_client: Client, label: Label) -> None:
    label.pair.human = 1.0
    label.pair.save()
    hidden = page_of(blind_client, label)
    assert [words for words in SHOWS_THE_JUDGE if words in hidden] == []
    decide(blind_client, label, "b", blind="1")
    shown = page_of(blind_client, label)
    assert [words for words in SHOWS_THE_JUDGE if words not in shown] == []


def test_the_pair_s_other_labels_stay_hidden_until_each_is_decided(
        blind_client: Client, label: Label, make_label: MakeLabel) -> None:
    other = make_label(label.pair, "toxicity", 0.1, 0.2)
    decide(blind_client, label, "b", blind="1")
    page = page_of(blind_client, label)
    assert page.count('class="label-bar') == 2, "this label's, above and in the list"
    assert page.count("hidden until you decide") == 1
    decide(blind_client, other, "a", blind="1")
    assert "hidden until you decide" not in page_of(blind_client, label)


def test_the_decision_is_recorded_as_blind(blind_client: Client, label: Label) -> None:
    decide(blind_client, label, "b", blind="1")
    assert label.changes.get().blind
    assert "· blind" in page_of(blind_client, label)


def test_without_the_switch_nothing_is_blind(reviewer_client: Client, label: Label) -> None:
    assert 'name="blind" value="1"' in page_of(reviewer_client, label), "the switch"
    assert 'type="hidden" name="blind"' not in page_of(reviewer_client, label)
    decide(reviewer_client, label, "b")
    assert not label.changes.get().blind


def test_who_has_decided_before_has_seen_the_answer(blind_client: Client, label: Label) -> None:
    decide(blind_client, label, "b", blind="1")
    decide(blind_client, label, "undo")
    decide(blind_client, label, "a", blind="1")
    assert [change.blind for change in label.changes.order_by("pk")] == [True, False]


def test_another_reviewer_s_decision_is_hidden_as_well(
        blind_client: Client, teammate: User, label: Label) -> None:
    teammate.is_staff = True
    teammate.save()
    decide(logged_in(teammate), label, "b")
    page = page_of(blind_client, label)
    assert "What people decided" not in page and "B better (" not in page
    decide(blind_client, label, "a", blind="1")
    assert [change.blind for change in label.changes.order_by("pk")] == [False, True]


def test_a_hidden_answer_is_not_approved(blind_client: Client, label: Label) -> None:
    decide(blind_client, label, "approve", blind="1")
    assert Label.objects.get().review == Label.Review.OPEN


def test_members_who_only_look_see_the_judge(teammate_client: Client, label: Label) -> None:
    teammate_client.cookies["labels_blind"] = "1"
    assert 'class="label-bar' in page_of(teammate_client, label)


def test_a_stranger_switches_nothing(strange_reviewer_client: Client, label: Label) -> None:
    assert strange_reviewer_client.post(f"/labels/{label.pk}/options/", {"blind": "1"}).status_code == 404
