"""A canceled assignment settles all labels that waited for somebody at once, as they would be one by one."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.webapp.review.conftest import Assign, MakeLabels
from webapp.accounts.models import User
from webapp.labels.models import Label, LabelChange
from webapp.review import assigning
from webapp.review.assigning import assignment_cancel
from webapp.review.deciding import SKIP, conclude, decide
from webapp.review.models import ReviewAssignment, ReviewItem, ReviewOutcome

SURE = (0.95, 0.75)
# What the first and the second of three people say of a label that waits for the third; None: nothing yet.
SAYS = [("a", "a"), ("a", "b"), ("b", None), ("tie", SKIP), (None, None), (SKIP, SKIP), ("tie", "tie"), (None, "b")]


def _half_decided(assign: Assign, labels: list[Label], people: tuple[User, User, User]) -> ReviewAssignment:
    assignment = assign(*people, every=1, several=3, blind=False)
    for label, says in zip(labels, SAYS, strict=True):
        for person, value in zip(people[:2], says, strict=True):
            if value is not None:
                decide(item=ReviewItem.objects.get(assignment=assignment, label=label, user=person), user=person,
                       value=value)
    return assignment


def _corrections() -> list[tuple[str, float | None]]:
    return list(Label.objects.order_by("pk").values_list("review", "corrected_probability"))


@pytest.mark.django_db
def test_those_who_decided_and_agree_correct_the_label(
        owner: User, teammate: User, annotator: User, make_labels: MakeLabels, assign: Assign) -> None:
    labels = make_labels([SURE] * len(SAYS))
    assignment = _half_decided(assign, labels, (owner, teammate, annotator))
    taken_out = ReviewItem.objects.filter(state="open").count()
    assert assignment_cancel(assignment=assignment, by=owner) == taken_out == 12
    assert _corrections() == [("overridden", 1.0), ("open", None), ("overridden", 0.0), ("overridden", 0.5),
                              ("open", None), ("open", None), ("overridden", 0.5), ("overridden", 0.0)]
    first = Label.objects.get(pk=labels[0].pk)
    assert first.reviewed_by == owner and first.reviewed_at is not None
    change = LabelChange.objects.get(label=first)
    assert (change.before, change.after, change.after_probability, change.blind) == ("open", "overridden", 1.0, False)
    outcome = ReviewOutcome.objects.get(label=first)
    assert outcome.change == change and outcome.value == "a" and not outcome.is_adjudicated


@pytest.mark.django_db
def test_all_at_once_come_to_what_one_by_one_does(
        owner: User, teammate: User, annotator: User, make_labels: MakeLabels, assign: Assign,
        monkeypatch: pytest.MonkeyPatch) -> None:
    labels = make_labels([SURE] * len(SAYS))
    assignment = _half_decided(assign, labels, (owner, teammate, annotator))
    assignment_cancel(assignment=assignment, by=owner)
    at_once, outcomes = _corrections(), list(ReviewOutcome.objects.order_by("label").values_list("label", "value"))

    Label.objects.update(review="open", corrected_probability=None)
    LabelChange.objects.all().delete()
    assignment.items.all().delete()
    ReviewOutcome.objects.all().delete()

    def one_by_one(*, assignment: ReviewAssignment, labels: list[int], by: User) -> None:
        for label in labels:
            conclude(assignment=assignment, label_id=label, by=by)

    monkeypatch.setattr(assigning, "conclude_many", one_by_one)
    assignment_cancel(assignment=_half_decided(assign, labels, (owner, teammate, annotator)), by=owner)
    assert _corrections() == at_once
    assert list(ReviewOutcome.objects.order_by("label").values_list("label", "value")) == outcomes


@pytest.mark.django_db
def test_a_blind_decision_stays_known_as_blind(
        owner: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    (label,) = make_labels([SURE])
    assignment = assign(owner, teammate, every=1, blind=True)
    decide(item=ReviewItem.objects.get(assignment=assignment, user=teammate), user=teammate, value="b")
    assignment_cancel(assignment=assignment, by=owner)
    assert LabelChange.objects.get(label=label).blind


@pytest.mark.django_db
@pytest.mark.parametrize("count", [2, 40])
def test_canceling_runs_no_more_queries_with_more_labels(
        count: int, owner: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    make_labels([SURE] * count)
    assignment = assign(owner, teammate, every=1)
    for item in ReviewItem.objects.filter(user=owner):
        decide(item=item, user=owner, value="a")
    with CaptureQueriesContext(connection) as queries:
        assignment_cancel(assignment=assignment, by=owner)
    assert len(queries) <= 14
    assert Label.objects.filter(review="overridden").count() == count
