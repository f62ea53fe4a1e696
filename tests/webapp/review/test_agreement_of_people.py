"""Several people on one pair: how far they agree, and how a member decides between them."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.webapp.review.conftest import Assign, MakeLabels, queue
from webapp.accounts.models import User
from webapp.labels.models import Label
from webapp.review.agreement import agreement_of, nominal_alphas
from webapp.review.deciding import DecisionRefused, adjudicate, decide, undo
from webapp.review.models import ReviewAssignment, ReviewItem, ReviewOutcome
from webapp.review.selectors import agreement_by_principle, differing

SURE = (0.95, 0.85)
A, B, SPLIT = (2, 0, 0), (0, 2, 0), (1, 1, 0)


def test_alpha_of_four_pairs_worked_by_hand() -> None:
    """Coincidences: AA 2, BB 4, AB 1, BA 1, so n = 8, D_o = 2/8; nA = 3, nB = 5, D_e = 2·3·5/(8·7); alpha = 8/15."""
    agreement = agreement_of([A, B, B, SPLIT])
    assert agreement.alpha == pytest.approx(1 - (2 / 8) / (30 / 56))
    assert (agreement.pairs, agreement.differing, agreement.agreeing_share) == (4, 1, 0.75)
    assert agreement.interval is None, "of four pairs there is no interval to speak of"


def test_full_agreement_is_one_and_one_single_value_is_undefined() -> None:
    assert agreement_of([A, B] * 10).alpha == pytest.approx(1)
    assert agreement_of([A] * 20).alpha is None
    assert agreement_of([(1, 0, 0)] * 5).pairs == 0, "one person alone agrees with nobody"


def test_the_interval_holds_the_value_and_narrows_with_pairs() -> None:
    few, many = agreement_of([A, B, SPLIT] * 10), agreement_of([A, B, SPLIT] * 1000)
    for agreement in (few, many):
        assert agreement.interval and agreement.alpha is not None
        assert agreement.interval[0] < agreement.alpha < agreement.interval[1]
    assert many.interval and few.interval
    assert many.interval[1] - many.interval[0] < 0.2 * (few.interval[1] - few.interval[0])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3).filter(lambda count: sum(count) >= 2), min_size=1, max_size=12))
def test_the_many_at_once_are_those_of_the_library(counts: list[tuple[int, int, int]]) -> None:
    values = np.array(counts)
    ours = nominal_alphas(values, np.ones((1, len(counts)), dtype=np.int64))[0]
    if (values.sum(axis=0) > 0).sum() < 2:
        assert np.isnan(ours)
        return
    assert ours == pytest.approx(krippendorff.alpha(value_counts=values, level_of_measurement="nominal"))


@pytest.fixture
def shared(owner: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> ReviewAssignment:
    """Three labels, each in the queues of two people."""
    make_labels([SURE] * 3)
    return assign(owner, teammate, every=1)


def say(assignment: ReviewAssignment, user: User, *values: str) -> None:
    for item, value in zip(queue(assignment, user), values, strict=False):
        decide(item=item, user=user, value=value)


def corrections(assignment: ReviewAssignment) -> list[float | None]:
    labels = ReviewItem.objects.filter(assignment=assignment).values("label")
    return list(Label.objects.filter(pk__in=labels).order_by("pk").values_list("corrected_probability", flat=True))


@pytest.mark.django_db
def test_only_what_all_say_becomes_the_correction(
        owner: User, teammate: User, shared: ReviewAssignment) -> None:
    say(shared, owner, "a", "b", "a")
    assert corrections(shared) == [None] * 3, "the other person has not decided"
    say(shared, teammate, "a", "a", "skip")
    assert corrections(shared) == [1.0, None, 1.0], "who skips says nothing"
    assert list(differing(shared)) == [queue(shared, owner)[1].label_id]
    (line,) = agreement_by_principle(shared)
    assert (line.agreement.pairs, line.agreement.differing) == (2, 1)


@pytest.mark.django_db
def test_a_pair_that_somebody_has_still_to_decide_is_not_to_be_adjudicated(
        owner: User, teammate: User, annotator: User, make_labels: MakeLabels, assign: Assign) -> None:
    make_labels([SURE])
    assignment = assign(owner, teammate, annotator, every=1, several=3)
    say(assignment, owner, "a"), say(assignment, teammate, "b")
    assert not list(differing(assignment))
    say(assignment, annotator, "skip")
    assert len(differing(assignment)) == 1


@pytest.mark.django_db
def test_a_member_decides_between_people_on_the_page(
        lead: User, lead_client: Client, teammate: User, shared: ReviewAssignment) -> None:
    say(shared, lead, "a"), say(shared, teammate, "b")
    assert "People differ on 1 pair." in lead_client.get(f"/labels/review/{shared.pk}/progress/").content.decode()
    address = f"/labels/review/{shared.pk}/adjudicate/"
    page = lead_client.get(address).content.decode()
    assert "owner: <strong>A better</strong>" in page and "teammate: <strong>B better</strong>" in page
    label = queue(shared, lead)[0].label_id
    page = lead_client.post(address, {"label": label, "value": "tie"}, follow=True).content.decode()
    assert "Nothing to decide" in page
    assert corrections(shared)[0] == 0.5
    outcome = ReviewOutcome.objects.get()
    assert outcome.is_adjudicated and outcome.by == lead
    page = lead_client.post(address, {"label": label, "value": "a"}, follow=True).content.decode()
    assert "decided already" in page and corrections(shared)[0] == 0.5


@pytest.mark.django_db
def test_what_a_member_decided_stands_when_a_person_changes_their_mind(
        lead: User, teammate: User, shared: ReviewAssignment) -> None:
    say(shared, lead, "a"), say(shared, teammate, "b")
    adjudicate(assignment=shared, label=Label.objects.get(pk=queue(shared, lead)[0].label_id), value="a", by=lead)
    undo(assignment=shared, user=teammate)
    decide(item=queue(shared, teammate)[0], user=teammate, value="tie")
    assert corrections(shared)[0] == 1.0


@pytest.mark.django_db
def test_where_people_agree_there_is_nothing_to_adjudicate(
        lead: User, teammate: User, shared: ReviewAssignment) -> None:
    say(shared, lead, "a"), say(shared, teammate, "a")
    with pytest.raises(DecisionRefused):
        adjudicate(assignment=shared, label=Label.objects.get(pk=queue(shared, lead)[0].label_id), value="b", by=lead)


@pytest.mark.django_db
def test_adjudicating_is_for_staff_and_for_labels_of_the_assignment(
        teammate_client: Client, lead_client: Client, lead: User, teammate: User, shared: ReviewAssignment,
        make_labels: MakeLabels) -> None:
    say(shared, lead, "a"), say(shared, teammate, "b")
    address = f"/labels/review/{shared.pk}/adjudicate/"
    label = queue(shared, lead)[0].label_id
    assert teammate_client.post(address, {"label": label, "value": "a"}).status_code == 403
    (other,) = make_labels([SURE], start=70)
    for key in (other.pk, "x", ""):
        assert lead_client.post(address, {"label": key, "value": "a"}).status_code == 404
    assert not ReviewOutcome.objects.exists()
