"""A person's decision on a label: what it changes, who may make it, how it is taken back."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from webapp.accounts.models import User
from webapp.labels import services
from webapp.labels.models import Label, Pair


def decide(client: Client, label: Label, action: str, **more: object) -> Label:
    response = client.post(f"/labels/{label.pk}/judge/?principle=factuality", {"action": action, **more})
    assert response.url == f"/labels/{label.pk}/?principle=factuality"
    return Label.objects.get(pk=label.pk)


@pytest.mark.parametrize(("action", "probability"), [("a", 1.0), ("b", 0.0), ("tie", 0.5)])
def test_a_winner_takes_the_place_of_the_judges_probability(
    reviewer_client: Client, label: Label, action: str, probability: float
) -> None:
    decided = decide(reviewer_client, label, action)
    assert decided.effective_probability == probability
    assert decided.review == Label.Review.OVERRIDDEN
    assert decided.probability == label.probability, "what the judge said stays"


def test_an_exact_probability_can_be_set(reviewer_client: Client, label: Label) -> None:
    assert decide(reviewer_client, label, "exact", probability="0.35").effective_probability == 0.35


@pytest.mark.parametrize("probability", ["", "1.2", "-0.1", "nan", "much"])
def test_a_probability_that_is_none_is_refused(reviewer_client: Client, label: Label, probability: str) -> None:
    assert decide(reviewer_client, label, "exact", probability=probability).review == Label.Review.OPEN


def test_approval_keeps_the_judges_probability(reviewer_client: Client, label: Label) -> None:
    decided = decide(reviewer_client, label, "approve")
    assert (decided.review, decided.effective_probability) == (Label.Review.APPROVED, label.probability)


def test_a_rejected_label_trains_nothing(reviewer_client: Client, label: Label) -> None:
    assert decide(reviewer_client, label, "reject").effective_probability is None


def test_who_and_when_are_recorded(reviewer_client: Client, reviewer: User, label: Label) -> None:
    decided = decide(reviewer_client, label, "a")
    assert decided.reviewed_by == reviewer
    assert decided.reviewed_at is not None
    change = decided.changes.get()
    assert (change.before, change.after, change.after_probability, change.by) == ("open", "overridden", 1.0, reviewer)


def test_undo_goes_back_one_decision_at_a_time(reviewer_client: Client, reviewer: User, label: Label) -> None:
    decide(reviewer_client, label, "a")
    decide(reviewer_client, label, "reject")
    back = decide(reviewer_client, label, "undo")
    assert (back.review, back.corrected_probability, back.reviewed_by) == (Label.Review.OVERRIDDEN, 1.0, reviewer)
    back = decide(reviewer_client, label, "undo")
    assert (back.review, back.corrected_probability, back.reviewed_by) == (Label.Review.OPEN, None, None)
    assert decide(reviewer_client, label, "undo").review == Label.Review.OPEN
    assert label.changes.count() == 2, "what was taken back stays on record"


def test_a_label_that_the_judge_could_not_give_is_not_approved(reviewer: User, pair: Pair, make_label) -> None:
    broken = make_label(pair, "detail", None, None, probability=None, error="No answer.")
    with pytest.raises(ValidationError, match="nothing to approve"):
        services.label_approve(label=broken, by=reviewer)
    services.label_override(label=broken, probability=0.0, by=reviewer)
    assert broken.effective_probability == 0.0


def test_a_member_who_is_not_staff_only_looks(teammate_client: Client, label: Label) -> None:
    assert teammate_client.post(f"/labels/{label.pk}/judge/", {"action": "a"}).status_code == 403
    page = teammate_client.get(f"/labels/{label.pk}/").content
    assert b"Only members who are staff can review labels" in page
    assert b'id="decide"' not in page


def test_a_stranger_finds_no_label_to_decide_on(strange_reviewer_client: Client, label: Label) -> None:
    assert strange_reviewer_client.post(f"/labels/{label.pk}/judge/", {"action": "a"}).status_code == 404
    assert Label.objects.get(pk=label.pk).review == Label.Review.OPEN


def test_a_decision_is_never_made_by_following_a_link(reviewer_client: Client, label: Label) -> None:
    assert reviewer_client.get(f"/labels/{label.pk}/judge/?action=a").status_code == 405
