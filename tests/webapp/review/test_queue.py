"""A person's queue: one pair after another, blind, saved once however often it is sent, and taken back."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.webapp.review.conftest import Assign, MakeLabels, queue
from webapp.accounts.models import User
from webapp.labels.models import Label
from webapp.labels.services import label_reject
from webapp.review.assigning import assignment_cancel
from webapp.review.deciding import DecisionRefused, decide, undo
from webapp.review.models import ReviewAssignment, ReviewDecision, ReviewItem, ReviewOutcome
from webapp.review.selectors import AHEAD

pytestmark = pytest.mark.django_db
SURE = (0.95, 0.85)


@pytest.fixture
def assignment(annotator: User, make_labels: MakeLabels, assign: Assign) -> ReviewAssignment:
    """Twelve labels in the annotator's queue."""
    make_labels([SURE] * 12)
    return assign(annotator)


def post(client: Client, assignment: ReviewAssignment, **fields: Any) -> Any:
    return client.post(f"/labels/review/{assignment.pk}/", fields, headers={"Accept": "application/json"})


def state(label: Label) -> tuple[str, float | None]:
    label.refresh_from_db()
    return label.review, label.corrected_probability


def test_the_page_holds_the_next_pairs_and_hides_the_judge(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    page = annotator_client.get(f"/labels/review/{assignment.pk}/").content.decode()
    assert page.count('class="review-pair"') == AHEAD
    assert "0.90" not in page and "0.9" not in page and "The judge:" not in page
    assert "0</span> of 12 decided by you" in page


def test_the_judge_is_shown_where_the_assignment_says_so(
        annotator_client: Client, annotator: User, make_labels: MakeLabels, assign: Assign) -> None:
    make_labels([SURE])
    assignment = assign(annotator, blind=False)
    page = annotator_client.get(f"/labels/review/{assignment.pk}/").content.decode()
    assert "The judge: <strong>A better, 0.90</strong>" in page
    decide(item=queue(assignment, annotator)[0], user=annotator, value="a")
    assert not ReviewDecision.objects.get().blind


def test_without_a_script_a_decision_is_a_form_that_leads_to_the_next_pair(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    first, second, *_ = queue(assignment, annotator)
    answer = annotator_client.post(f"/labels/review/{assignment.pk}/", {"item": first.pk, "outcome": "b"}, follow=True)
    page = answer.content.decode()
    assert "Saved. The judge said: A better, 0.90." in page
    assert f'name="item" value="{second.pk}"' in page
    assert state(first.label) == ("overridden", 0.0), "who decides alone is unanimous"


def test_the_script_gets_only_pairs_that_it_has_not_got_and_the_judges_answer_afterwards(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    items = queue(assignment, annotator)
    present = ",".join(str(item.pk) for item in items[:AHEAD])
    answer = post(annotator_client, assignment, item=items[0].pk, outcome="a", present=present,
                  shown=AHEAD - 1).json()
    assert len(answer["pairs"]) == 1 and f'data-item="{items[AHEAD].pk}"' in answer["pairs"][0]
    assert "hidden" in answer["pairs"][0] and "0.90" not in answer["pairs"][0]
    assert answer["last"] == "A better, 0.90" and "1</span> of 12 decided" in answer["summary"]


def test_what_waits_to_be_saved_takes_no_place_among_the_next_pairs(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    """Three are decided on the page and not saved yet, one is shown: the page gets seven more."""
    items = queue(assignment, annotator)
    present = ",".join(str(item.pk) for item in items[:4])
    answer = post(annotator_client, assignment, item=items[0].pk, outcome="a", present=present, shown=1).json()
    assert len(answer["pairs"]) == AHEAD - 1 and f'data-item="{items[4].pk}"' in answer["pairs"][0]


def test_the_pair_that_is_taken_back_comes_also_to_a_full_page(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    items = queue(assignment, annotator)
    post(annotator_client, assignment, item=items[0].pk, outcome="a")
    present = ",".join(str(item.pk) for item in items[1:AHEAD + 1])
    answer = post(annotator_client, assignment, outcome="undo", present=present, shown=AHEAD).json()
    assert [f'data-item="{items[0].pk}"' in html for html in answer["pairs"]] == [True]


def test_the_same_request_twice_is_one_decision(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    for _ in range(3):
        assert post(annotator_client, assignment, item=item.pk, outcome="a", key="k" * 32).status_code == 200
    assert ReviewDecision.objects.count() == 1 and item.label.changes.count() == 1


def test_an_undo_sent_twice_takes_back_one_decision(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    first, second, *_ = queue(assignment, annotator)
    for item in (first, second):
        post(annotator_client, assignment, item=item.pk, outcome="a")
    for _ in range(2):
        answer = post(annotator_client, assignment, outcome="undo", key="u" * 32)
        assert answer.json()["undone"] == second.pk
    assert [item.state for item in queue(assignment, annotator)[:2]] == ["decided", "open"]


def test_undo_takes_the_correction_back_and_keeps_every_act(annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    decide(item=item, user=annotator, value="b", seconds=3.5)
    assert undo(assignment=assignment, user=annotator) == item
    assert state(item.label) == ("open", None)
    decide(item=ReviewItem.objects.get(pk=item.pk), user=annotator, value="tie")
    assert state(item.label) == ("overridden", 0.5)
    acts = list(ReviewDecision.objects.values_list("value", "blind", "seconds"))
    assert acts == [("b", True, 3.5), ("undo", False, None), ("tie", False, None)], \
        "the second time the person had seen the judge's answer"
    assert [(outcome.value, outcome.withdrawn_at is None) for outcome in ReviewOutcome.objects.order_by("pk")] == [
        ("b", False), ("tie", True)]


def test_undo_leaves_what_somebody_has_decided_since(
        owner: User, annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    decide(item=item, user=annotator, value="b")
    label_reject(label=item.label, by=owner)
    undo(assignment=assignment, user=annotator)
    assert state(item.label) == ("rejected", None)


def test_a_skipped_pair_leaves_the_queue_and_corrects_nothing(annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    decide(item=item, user=annotator, value="skip")
    assert state(item.label) == ("open", None)
    assert queue(assignment, annotator)[0].state == "skipped"
    undo(assignment=assignment, user=annotator)
    assert queue(assignment, annotator)[0].state == "open"


def test_another_decision_on_a_decided_pair_is_refused_with_the_way_out(
        annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    post(annotator_client, assignment, item=item.pk, outcome="a", key="one")
    answer = post(annotator_client, assignment, item=item.pk, outcome="b", key="two")
    assert answer.status_code == 409 and "Undo takes the last decision back" in answer.json()["refused"]
    assert ReviewItem.objects.get(pk=item.pk).value == "a"


@pytest.mark.parametrize("fields", [{"item": "999999"}, {"item": "x" * 50}, {"item": "①"}, {}, {"outcome": "c"},
                                    {"outcome": "undo"}, {"seconds": "nan", "item": "-1"}])
def test_what_is_no_decision_is_refused_and_never_an_error(
        fields: dict[str, str], annotator_client: Client, assignment: ReviewAssignment) -> None:
    assert post(annotator_client, assignment, **{"outcome": "a"} | fields).status_code == 409
    assert not ReviewDecision.objects.exists()


@pytest.mark.parametrize(("seconds", "stored"), [("2.5", 2.5), ("nan", None), ("soon", None), ("-3", 0.0),
                                                 ("1e9", 3600.0), ("", None)])
def test_the_time_per_pair_is_kept_within_reason(
        seconds: str, stored: float | None, annotator_client: Client, annotator: User,
        assignment: ReviewAssignment) -> None:
    post(annotator_client, assignment, item=queue(assignment, annotator)[0].pk, outcome="a", seconds=seconds)
    assert ReviewDecision.objects.get().seconds == stored


def test_nobody_decides_in_the_queue_of_another(
        teammate_client: Client, teammate: User, annotator: User, assignment: ReviewAssignment, assign: Assign,
        make_labels: MakeLabels) -> None:
    item = queue(assignment, annotator)[0]
    assert post(teammate_client, assignment, item=item.pk, outcome="a").status_code == 404, "no queue here at all"
    make_labels([SURE], start=50)
    own = assign(teammate)
    assert post(teammate_client, own, item=item.pk, outcome="a").status_code == 409
    with pytest.raises(DecisionRefused):
        decide(item=item, user=teammate, value="a")
    assert not ReviewDecision.objects.exists()


def test_an_annotator_sees_no_assignment_of_others(
        annotator_client: Client, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    make_labels([SURE])
    other = assign(teammate)
    assert annotator_client.get(f"/labels/review/{other.pk}/").status_code == 404
    page = annotator_client.get("/labels/review/").content.decode()
    assert "Nothing is assigned to you" in page and "First look" not in page


def test_a_canceled_pair_says_that_it_was_taken_out(
        owner: User, annotator_client: Client, annotator: User, assignment: ReviewAssignment) -> None:
    item = queue(assignment, annotator)[0]
    assignment_cancel(assignment=assignment, by=owner)
    answer = post(annotator_client, assignment, item=item.pk, outcome="a")
    assert answer.status_code == 409 and "taken this pair out of your queue" in answer.json()["refused"]
    assert "This assignment is canceled" in annotator_client.get(f"/labels/review/{assignment.pk}/").content.decode()


def test_training_sees_the_decision_as_any_correction(
        annotator: User, assignment: ReviewAssignment, annotator_client: Client) -> None:
    item = queue(assignment, annotator)[0]
    post(annotator_client, assignment, item=item.pk, outcome="tie")
    item.label.refresh_from_db()
    assert item.label.effective_probability == 0.5 and item.label.probability == pytest.approx(0.9)
    change = item.label.changes.get()
    assert change.by == annotator and change.blind
