"""A set of people's choices, judges that are asked about it, and what each is worth: by principle, with its floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.judge_server import JudgeServer, judge_server
from training import config
from webapp.accounts.models import Team, User
from webapp.calibration import services
from webapp.calibration.models import CalibrationAnswer, CalibrationCheck, CalibrationSet
from webapp.calibration.people import choices_of
from webapp.calibration.selectors import ENOUGH, checks_of, judge_rows, set_rows
from webapp.calibration.trust import unmeasured_principles
from webapp.judges.models import Connection
from webapp.judges.services import connection_create
from webapp.labels.models import Label, Pair, PairText
from webapp.labels.services import label_approve, label_override, label_reject, label_undo
from webapp.principles.models import Principle, PrincipleVersion

Sent = list[tuple[str, tuple[object, ...], str]]
SHORT, LONG = "Yes.", "Well, that depends on very many things."
RULE = config.JudgeSettings(kind="rule")


def wording(team: Team, name: str) -> PrincipleVersion:
    return PrincipleVersion.objects.get(principle__team=team, principle__name=name)


@pytest.fixture
def make_label(team: Team) -> Callable[..., Label]:
    """A label on a pair whose A is the short response, by a judge that says A with the given probability."""

    def make(number: int, probability: float = 0.9, principle: str = "conciseness", judge: str = "other") -> Label:
        pair, is_new = Pair.objects.get_or_create(team=team, digest=f"{number:032d}", excerpt=f"Question {number}?")
        if is_new:
            PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": f"Question {number}?"}],
                                    response_a=SHORT, response_b=LONG)
        return Label.objects.create(team=team, pair=pair, principle_version=wording(team, principle), judge=judge,
                                    prompt_version="1", probability=probability, p_shown=probability,
                                    p_swapped=probability, tokens=200)

    return make


@pytest.fixture
def people_chose(make_label: Any, owner: User) -> list[Label]:
    """Six blind choices on conciseness: the short response four times, the long one, and a tie."""
    labels = [make_label(number) for number in range(6)]
    for label, choice in zip(labels, (1.0, 1.0, 1.0, 1.0, 0.0, 0.5), strict=True):
        label_override(label=label, probability=choice, by=owner, blind=True)
    return labels


@pytest.fixture
def calibration_set(team: Team, owner: User, people_chose: list[Label]) -> CalibrationSet:
    made = services.set_create(team=team, user=owner, name="October", only_blind=True)
    assert made is not None
    return made


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture
def saved(team: Team, owner: User, server: JudgeServer) -> Connection:
    return connection_create(team=team, user=owner, key="", name="Local", kind="server", model="rule",
                             base_url=server.base_url, price_in=1.0, price_out=2.0)


def checked(calibration_set: CalibrationSet, owner: User, judge: config.JudgeSettings = RULE, title: str = "rules",
            repeats: int = 0) -> CalibrationCheck:
    check = services.check_start(calibration_set=calibration_set, user=owner, judge=judge, title=title,
                                 repeats=repeats)
    services.check_run(check_id=check.pk)
    check.refresh_from_db()
    return check


# What people chose ----------------------------------------------------------------------------------------------------


def test_only_blind_decisions_count_unless_others_are_asked_for(team: Team, owner: User, make_label: Any) -> None:
    """An approval says that the judge is right, with its answer in sight."""
    blind, seen, approved, rejected, _open = (make_label(number) for number in range(5))
    label_override(label=blind, probability=0.0, by=owner, blind=True)
    label_override(label=seen, probability=0.2, by=owner, blind=False)
    label_approve(label=approved, by=owner)
    label_reject(label=rejected, by=owner, blind=True)
    assert [(choice.pair, choice.value) for choice in choices_of(team, only_blind=True)] == [(blind.pair_id, 0.0)]
    assert {choice.pair: choice.value for choice in choices_of(team, only_blind=False)} == {
        blind.pair_id: 0.0, seen.pair_id: 0.0, approved.pair_id: 1.0}


def test_a_decision_that_was_taken_back_is_no_choice(team: Team, owner: User, make_label: Any) -> None:
    label = make_label(0)
    label_override(label=label, probability=0.0, by=owner, blind=True)
    label_undo(label=label)
    assert choices_of(team, only_blind=False) == []


def test_of_two_judges_labels_on_a_pair_the_newest_decision_counts_once(
    team: Team, owner: User, make_label: Any,
) -> None:
    first, second = make_label(0, judge="one"), make_label(0, judge="other")
    label_override(label=first, probability=1.0, by=owner, blind=True)
    label_override(label=second, probability=0.0, by=owner, blind=True)
    assert [choice.value for choice in choices_of(team, only_blind=True)] == [0.0]


def test_another_teams_decisions_stay_there(other_team: Team, people_chose: list[Label]) -> None:
    assert choices_of(other_team, only_blind=False) == []


# Checks ---------------------------------------------------------------------------------------------------------------


def test_the_demo_worlds_rules_are_measured_against_people(
    calibration_set: CalibrationSet, owner: User, sent: Sent,
) -> None:
    """In their world neither response answers, and the rules take the longer one: right on one of the five pairs on
    which people name a winner."""
    check = checked(calibration_set, owner)
    assert check.status == "done", check.error
    row, = judge_rows(calibration_set, [check])
    agreement = row.calibration.agreement
    assert agreement is not None and (agreement.value, agreement.n) == (0.2, 5)
    assert row.calibration.longer is not None and row.calibration.longer.value == 1.0
    assert row.calibration.people_longer is not None and row.calibration.people_longer.value == 0.2
    assert row.calibration.always_a is not None and row.calibration.always_a.value == 0.8
    assert row.principle.name == "conciseness" and row.money_per_1000 == 0 and row.is_short and not row.stale


def test_a_judge_is_asked_in_both_orders_and_what_it_would_cost_is_said(
    calibration_set: CalibrationSet, owner: User, saved: Connection, server: JudgeServer, sent: Sent,
) -> None:
    check = checked(calibration_set, owner, saved.settings(), "Local", repeats=2)
    assert check.status == "done", check.error
    assert check.answers.count() == 8 and sum(server.questions.values()) == 16
    row, = judge_rows(calibration_set, [check])
    assert row.calibration.consistency is not None and row.calibration.consistency.value == 1.0
    assert row.calibration.consistency.n == 2
    assert row.money_per_1000 == pytest.approx(1000 * ((1616 - 16) * 1.0 + 16 * 2.0) / 1e6 / 8)


def test_what_the_team_has_bought_is_not_asked_again(
    calibration_set: CalibrationSet, owner: User, saved: Connection, server: JudgeServer, sent: Sent,
    people_chose: list[Label],
) -> None:
    from training.judges.prompt import prompt_version

    Label.objects.filter(pk__in=[label.pk for label in people_chose[:4]]).update(
        judge=saved.label_name, prompt_version=prompt_version(saved.settings()))
    checked(calibration_set, owner, saved.settings(), "Local")
    assert sum(server.questions.values()) == 4, "two pairs in both orders"


def test_a_check_that_failed_goes_on_from_what_was_stored(
    calibration_set: CalibrationSet, owner: User, saved: Connection, server: JudgeServer, sent: Sent,
) -> None:
    judge = saved.settings().model_copy(update={"base_url": "http://127.0.0.1:9/v1"})
    check = checked(calibration_set, owner, judge, "Local")
    assert check.status == "failed" or check.answers.exclude(error="").exists()
    CalibrationCheck.objects.filter(pk=check.pk).update(judge=saved.settings().model_dump(mode="json"),
                                                        status="failed")
    assert services.check_again(check=check)
    services.check_run(check_id=check.pk)
    check.refresh_from_db()
    assert check.status == "done" and not check.answers.filter(probability=None).exists()


def test_a_second_delivery_asks_nothing(calibration_set: CalibrationSet, owner: User, sent: Sent) -> None:
    check = checked(calibration_set, owner)
    CalibrationAnswer.objects.update(probability=None)
    services.check_run(check_id=check.pk)
    assert not CalibrationAnswer.objects.filter(probability__isnull=False).exists()


def test_a_lost_check_is_sent_again_and_a_running_one_is_not(
    calibration_set: CalibrationSet, owner: User, sent: Sent, django_capture_on_commit_callbacks: Any,
) -> None:
    check = services.check_start(calibration_set=calibration_set, user=owner, judge=RULE, title="rules", repeats=0)
    services.checks_send_again()
    assert not services.check_again(check=check)
    CalibrationCheck.objects.update(status="running", seen_at=check.seen_at - timedelta(minutes=3))
    with django_capture_on_commit_callbacks(execute=True):
        services.checks_send_again()
    assert sent == [("workers.check_calibration", (check.pk,), "jobs")]
    assert CalibrationCheck.objects.get().status == "queued"


def test_a_check_is_stale_once_its_wording_or_its_judge_is_another(
    calibration_set: CalibrationSet, owner: User, saved: Connection, team: Team, sent: Sent,
) -> None:
    check = checked(calibration_set, owner, saved.settings(), "Local")
    Connection.objects.update(model="other")
    assert judge_rows(calibration_set, [check])[0].stale == "The saved judge has changed since, or was deleted."
    Connection.objects.update(model="rule")
    principle = Principle.objects.get(team=team, name="conciseness")
    PrincipleVersion.objects.create(principle=principle, number=2, statement="shorter")
    assert judge_rows(calibration_set, [check])[0].stale == "The wording has changed since."


# Pages ----------------------------------------------------------------------------------------------------------------


def test_a_set_is_made_of_todays_decisions_and_renewed_later(
    owner_client: Client, team: Team, owner: User, people_chose: list[Label], make_label: Any,
) -> None:
    page = owner_client.get(reverse("calibration:set_list")).content.decode()
    assert "No calibration set yet" in page and ">6</strong> blind choices" in page
    answer = owner_client.post(reverse("calibration:set_list"), {"name": "October", "only_blind": "on"})
    first = CalibrationSet.objects.get()
    assert answer["Location"] == reverse("calibration:set_detail", args=[first.pk])
    label_override(label=make_label(7), probability=0.0, by=owner, blind=True)
    owner_client.post(reverse("calibration:set_renew", args=[first.pk]))
    owner_client.post(reverse("calibration:set_renew", args=[first.pk]))  # pressed twice: there is one newer version
    second = CalibrationSet.objects.get(version=2)
    assert (first.items.count(), second.items.count(), second.earlier) == (6, 7, first)
    row, = set_rows(team)
    assert (row.set, row.pairs, row.principles) == (second, 7, 1)
    assert "There is a newer version" in owner_client.get(answer["Location"]).content.decode()


def test_without_decisions_the_form_says_where_to_make_them(owner_client: Client, team: Team) -> None:
    for fields in ({"name": "x", "only_blind": "on"}, {"name": "x"}):
        page = owner_client.post(reverse("calibration:set_list"), fields).content.decode()
        assert "Nobody has decided on a label yet" in page
    assert not CalibrationSet.objects.exists()


def test_the_page_shows_every_judge_beside_the_floor(
    owner_client: Client, calibration_set: CalibrationSet, owner: User, sent: Sent,
) -> None:
    address = reverse("calibration:set_detail", args=[calibration_set.pk])
    assert "No judge has been checked" in owner_client.get(address).content.decode()
    checked(calibration_set, owner)
    page = owner_client.get(address).content.decode()
    assert "20%" in page and "80%" in page
    assert "A judge that always says A" in page and "A judge that takes the longer response" in page
    assert "Fewer than 30 pairs say little." in page and "every 2s" not in page


def test_many_paid_calls_are_asked_about_first(
    owner_client: Client, calibration_set: CalibrationSet, saved: Connection, sent: Sent, monkeypatch: Any,
    django_capture_on_commit_callbacks: Any,
) -> None:
    monkeypatch.setattr("webapp.calibration.views.ASKED_ABOUT", 10)
    address = reverse("calibration:set_check", args=[calibration_set.pk])
    form = {"judge": str(saved.pk), "repeats": "10"}
    assert "Ask Local up to 24 times?" in owner_client.post(address, form).content.decode()
    assert not CalibrationCheck.objects.exists()
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(address, form | {"confirmed": "confirmed"})
    assert [name for name, *_ in sent] == ["workers.check_calibration"]
    page = owner_client.get(reverse("calibration:set_detail", args=[calibration_set.pk])).content.decode()
    assert 'hx-trigger="every 2s"' in page and "0 of 12 answers" in page


@pytest.mark.parametrize("fields", [{"judge": "999999", "repeats": "1"}, {"judge": "rule", "repeats": "-1"}, {}])
def test_what_is_wrong_with_a_check_is_said(
    owner_client: Client, calibration_set: CalibrationSet, fields: dict[str, str],
) -> None:
    answer = owner_client.post(reverse("calibration:set_check", args=[calibration_set.pk]), fields)
    assert answer.status_code == 422 and "Check a judge" in answer.content.decode()
    assert not CalibrationCheck.objects.exists()


def test_deleting_a_set_asks_first_and_keeps_the_decisions(
    owner_client: Client, calibration_set: CalibrationSet, people_chose: list[Label],
) -> None:
    address = reverse("calibration:set_delete", args=[calibration_set.pk])
    assert "People’s decisions stay" in owner_client.post(address).content.decode()
    owner_client.post(address, {"confirmed": "confirmed"})
    assert not CalibrationSet.objects.exists()
    assert Label.objects.filter(review=Label.Review.OVERRIDDEN).count() == 6


def test_more_pairs_and_checks_are_no_more_queries(
    owner_client: Client, calibration_set: CalibrationSet, team: Team, owner: User, make_label: Any, sent: Sent,
) -> None:
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as caught:
            owner_client.get(address)
        return len(caught)

    checked(calibration_set, owner)
    before = queries(reverse("calibration:set_detail", args=[calibration_set.pk]))
    for number in range(10, 20):
        label_override(label=make_label(number), probability=0.0, by=owner, blind=True)
    larger = services.set_create(team=team, user=owner, name="November", only_blind=True)
    assert larger is not None
    for _ in range(3):
        checked(larger, owner)
    assert queries(reverse("calibration:set_detail", args=[larger.pk])) == before
    assert len(checks_of(larger)) == 3


# Before a run ---------------------------------------------------------------------------------------------------------


def test_a_run_says_on_which_principles_nobody_has_measured_its_judge(
    team: Team, owner: User, other_team: Team, make_label: Any, saved: Connection, sent: Sent,
) -> None:
    wordings = {name: wording(team, name).statement for name in ("conciseness", "factuality")}
    judge = saved.settings()
    assert unmeasured_principles(team=team, judge=judge, wordings=wordings) == ["conciseness", "factuality"]
    for number in range(ENOUGH):
        label_override(label=make_label(number), probability=1.0, by=owner, blind=True)
    calibration_set = services.set_create(team=team, user=owner, name="October", only_blind=True)
    assert calibration_set is not None
    checked(calibration_set, owner, judge, "Local")
    assert unmeasured_principles(team=team, judge=judge, wordings=wordings) == ["factuality"]
    reworded = wordings | {"conciseness": "shorter"}
    assert unmeasured_principles(team=team, judge=judge, wordings=reworded) == ["conciseness", "factuality"]
    moved = judge.model_copy(update={"model": "another"})
    assert unmeasured_principles(team=team, judge=moved, wordings=wordings) == ["conciseness", "factuality"]
    assert unmeasured_principles(team=other_team, judge=judge, wordings=wordings) == ["conciseness", "factuality"]
    CalibrationAnswer.objects.filter(pk=CalibrationAnswer.objects.first().pk).update(probability=None)
    assert unmeasured_principles(team=team, judge=judge, wordings=wordings) == ["conciseness", "factuality"]


def test_the_form_of_a_run_says_it(owner_client: Client, team: Team, saved: Connection) -> None:
    page = owner_client.get(reverse("runs:new"), {"judge": str(saved.pk)}).content.decode()
    assert "not calibrated" in page and "factuality" in page.partition("not calibrated")[2].partition("</p>")[0]
    assert "not calibrated" not in owner_client.get(reverse("runs:new")).content.decode(), "the rules are the truth"
