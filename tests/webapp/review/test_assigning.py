"""Labels are assigned: so many to each person, some to several people, in an order; the rest can be canceled."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from tests.webapp.review.conftest import Assign, MakeLabels, queue
from webapp.accounts.models import Team, User
from webapp.labels.models import Label
from webapp.labels.services import label_approve
from webapp.review import ordering
from webapp.review.assigning import assignment_cancel, deal, labels_to_assign
from webapp.review.deciding import decide
from webapp.review.models import ReviewAssignment, ReviewItem
from webapp.runs.models import Stage

SURE, UNSURE, FLIPPED = (0.95, 0.75), (0.6, 0.5), (0.85, 0.1)


@given(labels=st.integers(0, 60), people=st.integers(1, 5), each=st.integers(1, 30), every=st.integers(0, 5),
       several=st.integers(2, 4))
def test_dealing_is_even_and_repeats_only_what_it_should(
        labels: int, people: int, each: int, every: int, several: int) -> None:
    dealt = list(deal(range(labels), range(people), per_person=each, overlap_every=every, overlap_people=several))
    held = Counter(person for _, person, _ in dealt)
    assert all(count <= each for count in held.values()), "nobody gets more than they should"
    assert len({(label, person) for label, person, _ in dealt}) == len(dealt), "nobody gets a label twice"
    if held and len(dealt) < people * each:
        assert max(held.values()) - min(held.get(person, 0) for person in range(people)) <= 1, "all get as many"
    times = Counter(label for label, _, _ in dealt)
    for label, count in times.items():
        is_shared = every > 0 and (label + 1) % every == 0
        assert count <= (several if is_shared else 1)
    for person in held:
        assert [place for _, who, place in dealt if who == person] == list(range(held[person]))


def test_every_third_label_goes_to_two_of_three_people() -> None:
    dealt = list(deal(range(6), "xyz", per_person=10, overlap_every=3, overlap_people=2))  # type: ignore[arg-type]
    assert [(label, person) for label, person, _ in dealt] == [
        (0, "x"), (1, "y"), (2, "z"), (2, "x"), (3, "y"), (4, "z"), (5, "x"), (5, "y")]


@pytest.mark.django_db
@pytest.mark.parametrize(("order", "expected"), [("middle", [2, 1, 0]), ("flips", [2, 0, 1])])
def test_the_order_follows_its_formula(
        order: str, expected: list[int], make_labels: MakeLabels, assign: Assign, teammate: User) -> None:
    """|p - 0.5| is 0.35, 0.05 and 0.025; the orders differ by 0.2, 0.1 and 0.75."""
    labels = make_labels([SURE, UNSURE, FLIPPED])
    assert [item.label_id for item in queue(assign(teammate, order=order), teammate)] == [
        labels[place].pk for place in expected]


@pytest.mark.django_db
def test_disagreement_is_that_of_the_judge_and_the_newest_preference_model(
        team: Team, make_labels: MakeLabels, assign: Assign, teammate: User) -> None:
    labels = make_labels([SURE, UNSURE, FLIPPED])
    stage = Stage.objects.create(team=team, identity="f" * 64, name="preference_model:factuality",
                                 kind="preference_model", principle="factuality", status="succeeded")
    stage.folder.mkdir(parents=True)
    (stage.folder / "card.json").write_text('{"std": 2.0}')
    rows = [(labels[0], 0.5, 0.0), (labels[1], -1.5, 1.5)]  # raw differences 1 and -6; the third is not scored
    (stage.folder / "scores.jsonl").write_text("".join(
        f'{{"pair": "{label.pair.digest}", "z_a": {a}, "z_b": {b}, "human": null, "held_out": true}}\n'
        for label, a, b in rows))
    expected = ordering.model_probabilities(team, "factuality")
    assert expected[labels[0].pair.digest] == pytest.approx(1 / (1 + math.exp(-1)))
    # |0.85 - 0.731| = 0.119 and |0.55 - 0.0025| = 0.5475; without a score last
    assert [item.label_id for item in queue(assign(teammate, order="disagreement"), teammate)] == [
        labels[1].pk, labels[0].pk, labels[2].pk]


@pytest.mark.django_db
def test_without_a_preference_model_disagreement_keeps_the_order_of_buying(
        make_labels: MakeLabels, assign: Assign, teammate: User) -> None:
    labels = make_labels([SURE, UNSURE])
    assert [item.label_id for item in queue(assign(teammate, order="disagreement"), teammate)] == [
        label.pk for label in labels]


@pytest.mark.django_db
def test_a_random_order_holds_every_label_once(make_labels: MakeLabels, assign: Assign, teammate: User) -> None:
    labels = make_labels([SURE] * 30)
    keys = [item.label_id for item in queue(assign(teammate, order="random"), teammate)]
    assert sorted(keys) == [label.pk for label in labels] and keys != sorted(keys)


@pytest.mark.django_db
@pytest.mark.parametrize("order", ["middle", "flips", "disagreement", "random"])
def test_a_short_queue_holds_the_beginning_of_the_order(
        order: str, make_labels: MakeLabels, assign: Assign, teammate: User, team: Team) -> None:
    """Labels without a confidence are in the order too, at its end."""
    labels = make_labels([(0.5 + number / 40, 0.5) for number in range(15)])
    Label.objects.filter(pk__in=[label.pk for label in labels[::7]]).update(
        probability=None, confidence=None, order_gap=None)
    for most in (1, 11, 13, 50):
        everything = ordering.keys_in_order(labels_to_assign(team, {}), order, team, seed=3, most=100)
        beginning = ordering.keys_in_order(labels_to_assign(team, {}), order, team, seed=3, most=most)
        assert list(beginning) == list(everything)[:most] and len(everything) == 15
    assert [item.label_id for item in queue(assign(teammate, order="middle", per_person=13), teammate)] == [
        label.pk for label in (*labels[1:7], *labels[8:14], labels[0])]


@pytest.mark.django_db
def test_dealing_takes_no_more_statements_with_more_labels(
        make_labels: MakeLabels, assign: Assign, teammate: User, owner: User) -> None:
    counts = []
    for start, number in ((0, 2), (10, 60)):
        make_labels([SURE] * number, start=start)
        with CaptureQueriesContext(connection) as queries:
            assign(owner, teammate, every=2)
        counts.append(len(queries))
    assert counts[0] == counts[1] and ReviewItem.objects.count() == 3 + 90
    assert not ReviewItem.objects.exclude(state="open", value="", decided_at=None).exists()


@pytest.mark.django_db
def test_what_is_decided_or_in_a_queue_is_not_assigned_again(
        team: Team, owner: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    labels = make_labels([SURE] * 3)
    label_approve(label=labels[0], by=owner)
    first = assign(teammate, per_person=1)
    assert list(labels_to_assign(team, {}).values_list("pk", flat=True)) == [labels[2].pk]
    assign(owner)
    with pytest.raises(ValidationError, match="No label is left to assign"):
        assign(owner)
    assignment_cancel(assignment=first, by=owner)
    assert labels_to_assign(team, {}).count() == 1, "what left a queue can be assigned again"


@pytest.mark.django_db
def test_a_canceled_assignment_keeps_decisions_and_settles_what_waited_for_others(
        owner: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    (label,) = make_labels([SURE])
    assignment = assign(owner, teammate, every=1)
    decide(item=queue(assignment, owner)[0], user=owner, value="b")
    assert Label.objects.get(pk=label.pk).review == "open", "the other person has not decided"
    assert assignment_cancel(assignment=assignment, by=owner) == 1
    assert Label.objects.get(pk=label.pk).corrected_probability == 0.0


@pytest.mark.django_db
def test_the_form_assigns_what_the_filter_of_the_labels_finds(
        lead_client: Client, teammate: User, annotator: User, make_labels: MakeLabels) -> None:
    make_labels([SURE] * 2), make_labels([UNSURE] * 4, principle="conciseness", start=10)
    page = lead_client.get("/labels/review/new/?principle=conciseness").content.decode()
    assert "4 labels can be assigned (Principle: conciseness)" in page
    assert "annotator" in page and "|p(judge) − 0.5|, smallest first." in page, "each formula stands in the help"
    answer = lead_client.post("/labels/review/new/?principle=conciseness", {
        "name": "Short ones", "people": [teammate.pk, annotator.pk], "per_person": "10", "overlap_every": "2",
        "overlap_people": "2", "order": "middle", "blind": "on"}, follow=True)
    assert answer.status_code == 200 and "Short ones" in answer.content.decode()
    assert ReviewItem.objects.count() == 6, "four labels, two of them twice"
    assert not ReviewItem.objects.exclude(label__principle_version__principle__name="conciseness").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("field", "value", "words"), [
    ("overlap_people", "3", "You chose 2, so a label cannot go to 3."),
    ("per_person", "0", "greater than or equal to 1"),
    ("people", "999999", "Select a valid choice"), ("order", "best", "Select a valid choice")])
def test_what_cannot_be_assigned_is_said_at_its_field(
        field: str, value: str, words: str, lead_client: Client, teammate: User, annotator: User,
        make_labels: MakeLabels) -> None:
    make_labels([SURE])
    fields = {"name": "x", "people": [teammate.pk, annotator.pk], "per_person": "1", "overlap_every": "1",
              "overlap_people": "2", "order": "middle"}
    answer = lead_client.post("/labels/review/new/", fields | {field: value})
    assert answer.status_code == 422 and words in answer.content.decode()
    assert not ReviewAssignment.objects.exists()


@pytest.mark.django_db
def test_only_staff_assign_and_cancel(teammate_client: Client, teammate: User, make_labels: MakeLabels,
                                      assign: Assign) -> None:
    make_labels([SURE])
    assignment = assign(teammate)
    assert teammate_client.get("/labels/review/new/").status_code == 403
    assert teammate_client.post(f"/labels/review/{assignment.pk}/cancel/", {"confirmed": "1"}).status_code == 403


@pytest.mark.django_db
def test_a_filter_that_is_not_understood_assigns_nothing(lead_client: Client, make_labels: MakeLabels) -> None:
    make_labels([SURE])
    page = lead_client.get("/labels/review/new/?principle=nonsense", follow=True).content.decode()
    assert "Nothing was assigned." in page


@pytest.mark.django_db
def test_pages_run_no_more_queries_with_more_rows(
        lead_client: Client, lead: User, teammate: User, make_labels: MakeLabels, assign: Assign) -> None:
    def counts() -> list[int]:
        numbers = []
        for path in ("/labels/review/", f"/labels/review/{ReviewAssignment.objects.first().pk}/progress/",  # type: ignore[union-attr]
                     f"/labels/review/{ReviewAssignment.objects.last().pk}/"):  # type: ignore[union-attr]
            with CaptureQueriesContext(connection) as queries:
                assert lead_client.get(path).status_code == 200
            numbers.append(len(queries))
        return numbers

    make_labels([SURE] * 2)
    assign(lead, teammate, every=1)
    lead_client.get("/labels/review/")
    few = counts()
    for number in range(1, 4):
        make_labels([SURE] * 8, start=100 * number)
        assign(lead, teammate, every=1)
    for item in ReviewItem.objects.filter(user=lead)[:3]:
        decide(item=item, user=lead, value="a")
    assert counts() == few
