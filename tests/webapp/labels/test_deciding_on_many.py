"""Actions on many labels: asked with a count, people's decisions left alone, done by a worker, taken back as one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.labels import bulk
from webapp.labels.models import BulkAction, Label, LabelChange, Pair, PairWords
from webapp.labels.selectors import labels_of
from webapp.labels.services import label_reject

NEW, REVIEW = "/labels/actions/new/", "/review/labels/label/"
Tasks = list[tuple[str, tuple[object, ...], str]]


@pytest.fixture
def many(team: Team, make_pair, make_label) -> list[Label]:
    """Six labels; the orders of the first disagree."""
    pairs = [make_pair(team, f"Question {number}") for number in range(6)]
    return [make_label(pair, "factuality", *((0.6, 0.4) if pair == pairs[0] else (0.9, 0.8))) for pair in pairs]


@pytest.fixture
def great(team: Team, pair: Pair, make_label) -> int:
    """More labels than are changed without a question."""
    first = make_label(pair)
    count = bulk.MOST_AT_ONCE + 30
    rows = [Pair(team=team, digest=f"{number:032d}", excerpt=f"Great question {number}") for number in range(count - 1)]
    pairs = Pair.objects.bulk_create(rows)
    PairWords.objects.bulk_create([PairWords(pair=other, words="great question") for other in pairs])
    Label.objects.bulk_create([
        Label(team=team, pair=other, principle_version=first.principle_version, judge="rule", prompt_version="1",
              probability=0.9, confidence=0.8) for other in pairs])
    return count


def reviews() -> list[str]:
    return list(Label.objects.order_by("pk").values_list("review", flat=True))


def last() -> BulkAction:
    return BulkAction.objects.latest("pk")


def undo(client: Client, action: BulkAction) -> None:
    client.post(f"/labels/actions/{action.pk}/undo/", {"confirmed": "1"})


def work_off(sent: Tasks) -> None:
    """What the worker does with the tasks that were sent."""
    for name, arguments, queue in sent:
        assert (name, queue) == ("workers.bulk_labels", "jobs")
        bulk.run(action_id=int(str(arguments[0])))
    sent.clear()


# A few ---------------------------------------------------------------------------------------------------------------


def test_a_few_that_match_are_approved_at_once_and_the_rest_is_left_alone(
    reviewer_client: Client, many: list[Label],
) -> None:
    reviewer_client.post(f"{NEW}?orders=agree", {"kind": "approve"})
    assert reviews() == ["open"] + ["approved"] * 5


def test_what_was_done_is_taken_back_as_one_from_any_page(reviewer_client: Client, many: list[Label]) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    assert reviews() == ["rejected"] * 6
    for page in ("/labels/", "/runs/", "/principles/"):
        assert f'action="/labels/actions/{last().pk}/undo/"' in reviewer_client.get(page).content.decode()
    undo(reviewer_client, last())
    assert reviews() == ["open"] * 6


def test_the_notice_is_the_actors_own_and_can_be_hidden(
    reviewer_client: Client, teammate_client: Client, many: list[Label],
) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    assert b"bulk-notice" not in teammate_client.get("/runs/").content
    reviewer_client.post(f"/labels/actions/{last().pk}/hide/")
    assert b"bulk-notice" not in reviewer_client.get("/runs/").content
    assert b"Undo" in reviewer_client.get("/labels/actions/").content


def test_the_undo_leaves_later_decisions_alone(reviewer_client: Client, many: list[Label]) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    reviewer_client.post(f"/labels/{many[2].pk}/judge/", {"action": "b"})
    undo(reviewer_client, last())
    assert reviews() == ["open", "open", "overridden", "open", "open", "open"]


def test_an_undo_can_be_undone_too_where_nobody_decided_since(reviewer_client: Client, many: list[Label]) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    undo(reviewer_client, last())
    reviewer_client.post(f"/labels/{many[3].pk}/judge/", {"action": "a"})
    undo(reviewer_client, last())
    assert reviews() == ["rejected", "rejected", "rejected", "overridden", "rejected", "rejected"]
    assert Label.objects.get(pk=many[0].pk).reviewed_by is not None


def test_an_action_is_undone_once(reviewer_client: Client, many: list[Label]) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    action = last()
    undo(reviewer_client, action)
    reviewer_client.post(NEW, {"kind": "reject"})
    undo(reviewer_client, action)
    assert reviews() == ["rejected"] * 6


def test_labels_without_a_probability_are_not_approved(reviewer_client: Client, many: list[Label]) -> None:
    Label.objects.filter(pk=many[0].pk).update(probability=None)
    reviewer_client.post(NEW, {"kind": "approve"})
    assert reviews() == ["open"] + ["approved"] * 5


# What people decided --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_what_people_decided_is_asked_about_and_left_alone_unless_they_say_so(
    reviewer_client: Client, many: list[Label], kind: str,
) -> None:
    reviewer_client.post(f"/labels/{many[1].pk}/judge/", {"action": "tie"})
    question = reviewer_client.post(NEW, {"kind": kind})
    assert "People decided 1 more" in question.content.decode()
    assert reviews().count("open") == 5, "nothing is done before the answer"
    reviewer_client.post(NEW, {"kind": kind, "confirmed": "1"})
    assert reviews()[1] == "overridden" and Label.objects.get(pk=many[1].pk).corrected_probability == 0.5
    reviewer_client.post(NEW, {"kind": kind, "confirmed": "1", "decided": "1"})
    assert "overridden" not in reviews()
    undo(reviewer_client, last())
    assert reviews()[1] == "overridden" and Label.objects.get(pk=many[1].pk).corrected_probability == 0.5


def test_a_label_decided_between_the_question_and_the_work_is_left_alone(
    reviewer_client: Client, great: int, sent: Tasks, django_capture_on_commit_callbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        reviewer_client.post(NEW, {"kind": "reject", "confirmed": "1"})
    decided = Label.objects.latest("pk")
    reviewer_client.post(f"/labels/{decided.pk}/judge/", {"action": "approve"})
    work_off(sent)
    assert reviews().count("rejected") == great - 1
    assert Label.objects.get(pk=decided.pk).review == "approved"


# Filters that mean nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [
    "dataset=424242", "run=424242", "run=" + "9" * 5000, "principle=nonsense", "judge=nobody", "confidence=huge",
    "orders=maybe",
    "review=perhaps", "sort=sideways", "q=" + "x" * 101, "dataset=-1", "run=1%00",
])
@pytest.mark.parametrize("kind", ["approve", "reject", "take_back"])
def test_a_filter_that_means_nothing_changes_nothing(
    reviewer_client: Client, many: list[Label], query: str, kind: str,
) -> None:
    reviewer_client.post(f"/labels/{many[0].pk}/judge/", {"action": "a"})
    before = reviews()
    reviewer_client.post(f"{NEW}?{query}", {"kind": kind, "confirmed": "1", "decided": "1"})
    assert reviews() == before and not BulkAction.objects.exists()
    page = reviewer_client.get(f"/labels/?{query}").content.decode()
    assert "This filter matches nothing" in page and "Approve all" not in page


@pytest.mark.parametrize("query", [
    "dataset=424242", "principle=nonsense", "judge=nobody", "confidence=huge", "review=perhaps"])
def test_nor_does_it_in_the_review(reviewer_client: Client, many: list[Label], query: str) -> None:
    assert reviewer_client.get(f"{REVIEW}?{query}").context["cl"].result_count == 0
    sent = {"action": "reject", "_selected_action": [many[0].pk], "select_across": 1}
    reviewer_client.post(f"{REVIEW}?{query}", sent, follow=True)
    assert reviews() == ["open"] * 6


@pytest.mark.parametrize("query", [
    "Principle=factuality", "principles=factuality", "principle[]=factuality", "principle=detail&principle=",
    "principle__exact=factuality", "id=1", "confidence=high&confidence=high", "review=&review=rejected&review=",
])
def test_nor_does_one_that_is_spelt_in_another_way(reviewer_client: Client, many: list[Label], query: str) -> None:
    for extra in ({}, {"confirmed": "1"}):
        answer = reviewer_client.post(f"{NEW}?{query}", {"kind": "reject", **extra}, follow=True)
        assert b"Nothing was changed." in answer.content
    assert reviews() == ["open"] * 6


@pytest.mark.parametrize("query", ["id__in={}", "judge__startswith=nobody", "order_flip__exact=1", "id={}", "pk__lt=1",
                                   "probability__isnull=1"])
def test_an_action_on_all_in_the_review_changes_no_more_than_the_list_shows(
    reviewer_client: Client, many: list[Label], query: str,
) -> None:
    reviewer_client.post(f"{REVIEW}?{query.format(many[0].pk)}",
                         {"action": "reject", "_selected_action": [many[0].pk], "select_across": "1"})
    assert reviews().count("rejected") <= 1


@pytest.mark.parametrize("across", ["true", "on", "2", " 1", "yes", "True", "1", "-1"])
def test_every_way_to_say_all_is_asked_as_all(
    reviewer_client: Client, great: int, sent: Tasks, across: str,
) -> None:
    answer = reviewer_client.post(REVIEW, {"action": "reject", "_selected_action": [Label.objects.latest("pk").pk],
                                           "select_across": across})
    assert answer.url.startswith(NEW)
    assert not sent and "rejected" not in reviews()


@pytest.mark.parametrize("across", ["", "0", "false", "False"])
def test_what_was_ticked_alone_is_changed(reviewer_client: Client, many: list[Label], across: str) -> None:
    reviewer_client.post(REVIEW, {"action": "reject", "_selected_action": [many[0].pk], "select_across": across})
    assert reviews() == ["rejected"] + ["open"] * 5


def test_the_answer_to_a_question_counts_once_however_often_it_is_sent(
    reviewer_client: Client, many: list[Label],
) -> None:
    for kind in ("approve", "reject"):
        reviewer_client.post(NEW, {"kind": kind, "confirmed": "1", "decided": "1"})
    page = reviewer_client.post(NEW, {"kind": "take_back"})
    answer = {"kind": "take_back", "confirmed": "1", "batch": page.context["action"].batch,
              "up_to": page.context["action"].up_to}
    for _ in range(2):
        assert reviewer_client.post(NEW, answer).status_code == 302
    assert reviews() == ["approved"] * 6
    assert f'name="batch" value="{answer["batch"]}"' in page.content.decode()
    reviewer_client.post(NEW, answer | {"batch": "made up"})
    assert reviews() == ["open"] * 6


def test_a_run_older_than_those_that_are_offered_still_filters(
    reviewer_client: Client, team: Team, owner, many: list[Label], monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.webapp.runs.seeds import make_run
    from webapp.labels import selectors

    old, _ = make_run(team, owner, name="Old one")
    make_run(team, owner, name="New one")
    monkeypatch.setattr(selectors, "_MOST_OFFERED", 1)
    page = reviewer_client.get(f"/labels/?run={old.pk}").content.decode()
    assert "matches nothing" not in page and f'<option value="{old.pk}" selected>' in page


def test_labels_that_come_after_the_question_are_not_changed(
    reviewer_client: Client, team: Team, many: list[Label], make_pair, make_label,
) -> None:
    up_to = many[-1].pk
    make_label(make_pair(team, "a newcomer"))
    reviewer_client.post(NEW, {"kind": "approve", "confirmed": "1", "up_to": str(up_to)})
    assert reviews() == ["approved"] * 6 + ["open"]


# A great number -------------------------------------------------------------------------------------------------------


def test_a_great_number_is_asked_about_with_its_count_and_its_filter(
    reviewer_client: Client, great: int, sent: Tasks,
) -> None:
    question = reviewer_client.post(f"{NEW}?principle=factuality", {"kind": "approve"}).content.decode()
    assert f"Approve {great} labels?" in question and "Principle: factuality" in question
    assert "approved" not in reviews() and not sent and not BulkAction.objects.exists()


def test_it_is_a_job_with_progress_and_an_undo_that_is_one_too(
    reviewer_client: Client, great: int, sent: Tasks, monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks,
) -> None:
    monkeypatch.setattr(bulk, "_PART", 50)
    with django_capture_on_commit_callbacks(execute=True):
        answer = reviewer_client.post(NEW, {"kind": "reject", "confirmed": "1"})
    assert "Waiting for a worker" in reviewer_client.get(answer.url).content.decode()
    assert "waiting for a worker" in reviewer_client.get("/runs/").content.decode()
    work_off(sent)
    assert reviews() == ["rejected"] * great
    assert f"{great} labels changed" in reviewer_client.get(answer.url).content.decode()
    action = last()
    assert f"Undo on {great} labels?" in reviewer_client.post(f"/labels/actions/{action.pk}/undo/").content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        undo(reviewer_client, action)
    work_off(sent)
    assert reviews() == ["open"] * great
    assert (last().handled, last().changed, last().status) == (great, great, "done")


def test_a_job_whose_database_goes_away_is_started_again_and_does_nothing_twice(
    reviewer_client: Client, great: int, sent: Tasks, monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks,
) -> None:
    monkeypatch.setattr(bulk, "_PART", 50)
    with django_capture_on_commit_callbacks(execute=True):
        reviewer_client.post(NEW, {"kind": "approve", "confirmed": "1"})
    real, parts = bulk._review_part, []

    def away_at_the_second_part(*arguments):
        parts.append(1)
        if len(parts) == 2:
            raise OperationalError("the connection is closed")
        return real(*arguments)

    monkeypatch.setattr(bulk, "_review_part", away_at_the_second_part)
    with pytest.raises(OperationalError):
        work_off(sent)
    bulk.run(action_id=last().pk)
    assert reviews().count("approved") == 50, "while its worker may live, nobody else takes it up"
    BulkAction.objects.update(touched_at=timezone.now() - timedelta(minutes=2))
    sent.clear()
    with django_capture_on_commit_callbacks(execute=True):
        bulk.send_again()
    work_off(sent)
    assert reviews() == ["approved"] * great
    assert LabelChange.objects.count() == great


def test_an_unforeseen_error_ends_the_job_with_words_and_what_was_done_can_be_undone(
    reviewer_client: Client, great: int, sent: Tasks, monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks,
) -> None:
    monkeypatch.setattr(bulk, "_PART", 50)
    real, parts = bulk._review_part, []

    def wrong_at_the_second_part(*arguments):
        parts.append(1)
        if len(parts) == 2:
            raise ValueError("a number too large")
        return real(*arguments)

    monkeypatch.setattr(bulk, "_review_part", wrong_at_the_second_part)
    with django_capture_on_commit_callbacks(execute=True):
        answer = reviewer_client.post(NEW, {"kind": "approve", "confirmed": "1"})
    work_off(sent)
    page = reviewer_client.get(answer.url).content.decode()
    assert "stopped after 50 labels" in page and "a number too large" in page
    undo(reviewer_client, last())
    assert reviews() == ["open"] * great


# Taking back, and the review ------------------------------------------------------------------------------------------


def test_the_last_decisions_on_many_are_taken_back_and_that_can_be_undone(
    reviewer_client: Client, many: list[Label],
) -> None:
    for label in many[:3]:
        reviewer_client.post(f"/labels/{label.pk}/judge/", {"action": "a"})
    reviewer_client.post(f"/labels/{many[0].pk}/judge/", {"action": "reject"})
    question = reviewer_client.post(NEW, {"kind": "take_back"}).content.decode()
    assert "Take back the last decision on 3 labels" in question
    reviewer_client.post(NEW, {"kind": "take_back", "confirmed": "1"})
    assert reviews() == ["overridden"] + ["open"] * 5
    undo(reviewer_client, last())
    assert reviews() == ["rejected", "overridden", "overridden", "open", "open", "open"]


def test_the_review_sends_all_that_match_to_the_question(reviewer_client: Client, great: int, sent: Tasks) -> None:
    chosen = {"_selected_action": [Label.objects.latest("pk").pk], "select_across": 1}
    for kind in ("approve", "reject", "take_back"):
        answer = reviewer_client.post(f"{REVIEW}?principle=factuality&q=great", chosen | {"action": kind}, follow=True)
        asked = "0 labels" if kind == "take_back" else f"{great - 1} labels?"
        assert asked in answer.content.decode()
    assert set(reviews()) == {"open"} and not sent


def test_words_of_a_search_may_stand_in_any_order(team: Team, many: list[Label]) -> None:
    assert labels_of(team, {"q": "3 question"}).get() == many[3]


# Whose ----------------------------------------------------------------------------------------------------------------


def test_only_staff_of_the_team_may(
    teammate_client: Client, strange_reviewer_client: Client, many: list[Label],
) -> None:
    assert teammate_client.post(NEW, {"kind": "approve", "confirmed": "1"}).status_code == 403
    strange_reviewer_client.post(NEW, {"kind": "approve", "confirmed": "1"})
    assert reviews() == ["open"] * 6


def test_a_stranger_neither_sees_nor_undoes_nor_hides_what_the_team_did(
    reviewer_client: Client, strange_reviewer_client: Client, many: list[Label],
) -> None:
    reviewer_client.post(NEW, {"kind": "reject"})
    address = f"/labels/actions/{last().pk}/"
    for path in ("", "undo/", "hide/"):
        assert strange_reviewer_client.post(address + path, {"confirmed": "1"}).status_code in {404, 405}
    assert strange_reviewer_client.get(address).status_code == 404
    assert reviews() == ["rejected"] * 6 and not last().hidden


def test_an_action_under_the_number_of_another_teams_decision_undoes_nothing_of_it(
    many: list[Label], reviewer: User, stranger: User, other_team: Team,
) -> None:
    change = label_reject(label=many[0], by=reviewer)
    action = bulk.draft(team=other_team, by=stranger, kind=BulkAction.Kind.REJECT, filters={},
                        batch=change.batch)
    bulk.undo(action=bulk.start(action=action), by=stranger)
    assert reviews() == ["rejected"] + ["open"] * 5


def test_many_labels_cannot_be_given_one_probability(reviewer_client: Client, many: list[Label]) -> None:
    for kind in ("overridden", "undo", "a"):
        assert reviewer_client.post(NEW, {"kind": kind, "confirmed": "1"}).status_code == 403
