"""The page "Label quality": counted by principle and judge, agreement with people, judges and principles."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.labels.conftest import MakeLabel, MakePair, version_of
from webapp.accounts.models import Team, User
from webapp.judges.services import connection_create
from webapp.labels import label_quality
from webapp.labels.answers import answers_of
from webapp.labels.models import Label, Pair
from webapp.labels.prices import Price
from webapp.labels.services import label_approve, label_override, label_reject
from webapp.principles.models import PrincipleVersion

MINI = "openai:gpt-4o-mini@https://api.openai.com/v1"


def opened(client: Client, **chosen: str) -> Any:
    answer = client.get(reverse("labels:quality"), chosen)
    assert answer.status_code == 200
    return answer


def labels_of(team: Team) -> Any:
    return Label.objects.of(team)


def with_people(team: Team) -> list[label_quality.Between]:
    labels = labels_of(team)
    return label_quality.with_people(label_quality.principles_of(team), answers_of(labels), labels,
                                     Pair.objects.of(team))


def test_a_team_without_labels_is_led_to_runs(owner_client: Client, team: Team) -> None:
    assert "No labels yet" in opened(owner_client).content.decode()


def test_flips_confidence_and_failures_are_counted_by_principle_and_judge(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    pairs = [make_pair(team, question=f"Question {number}?") for number in range(4)]
    make_label(pairs[0], shown=0.9, swapped=0.7, judge=MINI, tokens=300)
    make_label(pairs[1], shown=0.8, swapped=0.3, judge=MINI, tokens=300)
    make_label(pairs[2], shown=None, swapped=None, judge=MINI, tokens=100, error="refused: I cannot say")
    make_label(pairs[3], shown=None, swapped=None, judge=MINI, tokens=0, error="HTTP 400: too long")
    make_label(pairs[0], shown=0.9, swapped=0.9)

    mini, rule = opened(owner_client).context["lines"]
    assert (mini.n, mini.usable, mini.flips, mini.both) == (4, 2, 1, 2)
    assert mini.flip_rate == 0.5
    assert mini.confidence == pytest.approx((0.6 + 0.1) / 2)
    assert mini.failures == {"the judge declined to say": 1, "the server refused the request": 1}
    assert mini.tokens_each == 350
    assert (rule.n, rule.unusable) == (1, 0)


def test_a_failure_in_the_swapped_order_is_of_the_same_kind(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    make_label(make_pair(team), shown=None, swapped=None, error="in the swapped order: unreadable: 'Both'")

    assert opened(owner_client).context["lines"][0].failures == {"the answer names no letter": 1}


def test_a_usable_label_costs_what_all_calls_cost(
        team: Team, owner: User, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    connection_create(team=team, user=owner, name="Mini", kind="openai", model="gpt-4o-mini")
    make_label(make_pair(team), judge=MINI, tokens=1_000_002)

    line = opened(owner_client).context["lines"][0]
    assert line.money_each == pytest.approx(0.15 + 2 * 0.60 / 1e6)  # a million tokens in, two answers of one token


def test_money_of_tokens_is_what_was_read_and_the_letters_that_were_written() -> None:
    assert label_quality.money(1_000_000, 0, Price(2.0, 8.0)) == pytest.approx(2.0)
    assert label_quality.money(10, 10, Price(0.0, 1e6)) == pytest.approx(10.0)


def test_two_judges_agree_on_the_pairs_that_both_labelled(
        team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    for number, (first, second) in enumerate([(0.9, 0.8), (0.2, 0.1), (0.7, 0.4), (0.9, 0.5)]):
        pair = make_pair(team, question=f"Question {number}?")
        make_label(pair, shown=first, swapped=first, judge="openai:a@https://one.example/v1")
        make_label(pair, shown=second, swapped=second, judge="openai:b@http://gpu:8000/v1")
    make_label(make_pair(team, question="By one judge only?"), judge="openai:a@https://one.example/v1")

    between, = label_quality.between_judges(label_quality.principles_of(team), answers_of(labels_of(team)))
    assert (between.first, between.second) == ("a at one.example, question 1", "b at gpu:8000, question 1")
    counts = between.agreement  # the fourth pair is undecided by the second judge
    assert (counts.both_a, counts.first_a, counts.second_a, counts.both_b) == (1, 1, 0, 1)
    assert counts.raw == pytest.approx(2 / 3)


def test_a_judge_is_compared_with_the_choices_of_the_data_and_with_reviews(
        team: Team, reviewer: User, make_pair: MakePair, make_label: MakeLabel) -> None:
    right = make_label(make_pair(team, question="1?", human=1.0), shown=0.9, swapped=0.9)
    wrong = make_label(make_pair(team, question="2?", human=0.0), shown=0.9, swapped=0.9)
    thrown = make_label(make_pair(team, question="3?"), shown=0.9, swapped=0.9)
    label_approve(label=right, by=reviewer)
    label_override(label=wrong, probability=0.0, by=reviewer)
    label_reject(label=thrown, by=reviewer)

    data, review = with_people(team)
    assert (data.second, data.agreement.both_a, data.agreement.first_a, data.agreement.n) == (
        "chosen in the dataset", 1, 1, 2)
    assert (review.second, review.agreement.both_a, review.agreement.first_a, review.agreement.n) == (
        "reviewed by your team, not blind", 1, 1, 2)


def test_reviews_made_blind_are_counted_apart(
        team: Team, reviewer: User, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    labels = [make_label(make_pair(team, question=f"{number}?"), shown=0.9, swapped=0.9) for number in range(4)]
    label_override(label=labels[0], probability=1.0, by=reviewer, blind=True)
    label_override(label=labels[1], probability=0.0, by=reviewer, blind=True)
    label_override(label=labels[2], probability=0.0, by=reviewer, blind=True)
    label_approve(label=labels[2], by=reviewer)  # after the judge's answer was shown: no longer blind
    label_approve(label=labels[3], by=reviewer)

    by_source = {line.second: line.agreement for line in
                 with_people(team)}
    assert {source: (agreement.both_a, agreement.first_a) for source, agreement in by_source.items()} == {
        "reviewed by your team, blind": (1, 1), "reviewed by your team, not blind": (2, 0)}
    assert "Not blind: the reviewer saw it first" in opened(owner_client).content.decode()


@pytest.mark.parametrize(("pairs", "words"), [(19, ""), (20, "almost perfect")])
def test_few_pairs_are_given_no_word(team: Team, make_pair: MakePair, make_label: MakeLabel, pairs: int,
                                     words: str) -> None:
    for number in range(pairs):
        p = 0.9 if number % 2 else 0.1
        make_label(make_pair(team, question=f"{number}?", human=float(number % 2)), shown=p, swapped=p)
    line, = with_people(team)
    assert (line.agreement.n, line.agreement.kappa, line.words) == (pairs, 1.0, words)


def test_near_duplicates_and_conflicts_among_principles_are_named(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    for number in range(40):
        pair, p = make_pair(team, question=f"Question {number}?"), 0.9 if number % 2 else 0.1
        make_label(pair, "factuality", shown=p, swapped=p)
        make_label(pair, "bias", shown=p, swapped=p)
        make_label(pair, "conciseness", shown=1 - p, swapped=1 - p)

    context = opened(owner_client).context
    named = {frozenset((cell.row.name, cell.column.name)) for cell in context["duplicates"]}
    opposed = {frozenset((cell.row.name, cell.column.name)) for cell in context["conflicts"]}
    assert named == {frozenset(("factuality", "bias"))}
    assert opposed == {frozenset(("factuality", "conciseness")), frozenset(("bias", "conciseness"))}


def test_labels_of_two_judges_are_not_mixed_in_the_matrix(
        team: Team, make_pair: MakePair, make_label: MakeLabel) -> None:
    pair = make_pair(team)
    make_label(pair, "factuality", judge="openai:a")
    make_label(pair, "bias", judge="openai:b")

    (cell,), = label_quality.matrix(label_quality.principles_of(team), answers_of(labels_of(team)))
    assert cell.agreement.n == 0


def test_labels_of_an_older_wording_count_in_the_line_and_give_way_to_the_newest_in_the_matrix(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    pair, other = make_pair(team), make_pair(team, question="Labelled on the older wording only?")
    for labelled in (pair, other):
        make_label(labelled, "factuality", shown=0.1, swapped=0.1, tokens=100)
        make_label(labelled, "bias", shown=0.9, swapped=0.9)
    older = version_of(team, "factuality")
    newer = PrincipleVersion.objects.create(principle=older.principle, number=older.number + 1, statement="anew",
                                            created_by=older.created_by)
    make_label(pair, shown=0.9, swapped=0.3, tokens=200, principle_version=newer)

    context = opened(owner_client).context
    line = next(line for line in context["lines"] if line.principle == older.principle)
    assert (line.n, line.usable, line.both, line.flips, line.tokens) == (3, 3, 3, 1, 400)
    assert line.confidence == pytest.approx((0.8 + 0.8 + 0.2) / 3)
    (cell,), = context["matrix"]
    both, apart = cell.agreement.both_a, cell.agreement.first_a + cell.agreement.second_a
    assert (both, apart, cell.agreement.both_b) == (1, 1, 0), "the other pair keeps the winner of the older wording"


def test_the_matrix_is_the_same_however_many_pairs_are_read_at_once(
        team: Team, make_pair: MakePair, make_label: MakeLabel, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(11):
        pair = make_pair(team, question=f"Question {number}?")
        for place, name in enumerate(("factuality", "bias", "conciseness")):
            if (number + place) % 4:
                p = 0.9 if (number * (place + 1)) % 3 else 0.1
                make_label(pair, name, shown=p, swapped=p)
    answers = answers_of(labels_of(team))
    at_once = label_quality.matrix(label_quality.principles_of(team), answers)
    monkeypatch.setattr("webapp.labels.answers.PAIRS_AT_ONCE", 4)
    assert label_quality.matrix(label_quality.principles_of(team), answers) == at_once
    assert [cell.agreement.n for row in at_once for cell in row] == [6, 5, 6]


def test_the_filter_of_the_address_counts_what_it_names(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    make_label(make_pair(team), "factuality")
    make_label(make_pair(team, question="Another?"), "bias")

    assert [line.principle.name for line in opened(owner_client, principle="bias").context["lines"]] == ["bias"]


def test_another_teams_labels_are_counted_nowhere(
        team: Team, other_team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client) -> None:
    make_label(make_pair(other_team))

    assert opened(owner_client).context["lines"] == []


def test_more_labels_take_no_more_queries(
        team: Team, make_pair: MakePair, make_label: MakeLabel, owner_client: Client,
        django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        pair = make_pair(team, question=f"Question {number}?", human=1.0)
        for name in ("factuality", "bias", "conciseness"):
            make_label(pair, name, judge=f"openai:{number % 3}")
    with django_assert_max_num_queries(16):
        opened(owner_client)
