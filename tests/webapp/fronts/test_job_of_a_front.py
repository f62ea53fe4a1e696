"""The job of a front: answers first, then the judge; interrupted, cancelled, failed, started again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.webapp.fronts.made import evaluated, recipe_of
from training.errors import JudgeUnavailable
from training.judges.judge import Listener, PairQuestion, PairRequest, verdict_from_orders
from training.run.artifacts import write_jsonl
from webapp.accounts.models import Team, User
from webapp.fronts import judging, services
from webapp.fronts.models import PointAnswer, PolicyFront
from webapp.runs.head_to_head.services import head_to_head_claim
from webapp.runs.models import HeadToHead, Run
from workers import front_answers
from workers.policies import LocatedPolicy

VERDICTS = {"overall": 0.9, "factuality": 0.9, "conciseness": 0.1}
Sent = list[tuple[str, tuple[object, ...], str]]


class LongerWins:
    """A judge that prefers the longer answer, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[PairQuestion] = []
        self.fails_after = 10**9
        self.before_each: Any = lambda: None

    async def stream(self, requests: Iterator[PairRequest], listener: Listener) -> None:
        for request in requests:
            if len(self.asked) >= self.fails_after:
                raise JudgeUnavailable("The judge does not answer.", "Start its server.")
            self.asked.append(request.item)
            share = 0.9 if len(request.item.a) > len(request.item.b) else 0.1
            listener.judged(request, verdict_from_orders(share, share, 10, "fake"))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> LongerWins:
    fake = LongerWins()
    monkeypatch.setattr(judging, "make_judge", lambda settings, key: fake)
    return fake


@pytest.fixture
def front(team: Team, owner: User, owner_client: Client, sent: Sent,
          django_capture_on_commit_callbacks: Any) -> PolicyFront:
    """Two checkpoints and the end of a run on four prompts, asked for factuality alone."""
    run = evaluated(team, owner, "A", ["yes"] * 6, verdicts=VERDICTS,
                    recipe=recipe_of(ppo={"steps": 30, "keep_every": 10}))
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post("/fronts/new/", {"run": run.pk, "checkpoints": "2", "prompts": "4", "q": ["factuality"]})
    return PolicyFront.objects.get()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Answers 'well said' to even prompts and 'no' to odd ones, in place of the engine; the jobs that it got."""
    jobs: list[dict[str, Any]] = []

    def make(job: dict[str, Any], store: Any, go_on: Any) -> str | None:
        jobs.append(job)
        for policy in job["policies"]:
            store([{"policy": policy["id"], "prompt": prompt, "text": "no" if prompt % 2 else "well said"}
                   for prompt in policy["prompts"]])
            if not go_on():
                return None
        return ""

    monkeypatch.setattr(front_answers, "make_answers", make)
    monkeypatch.setattr(front_answers, "located", lambda team, reference: LocatedPolicy(
        reference["base"], (), "cpu", "fp32"))
    return jobs


def state(front: PolicyFront) -> tuple[str, str]:
    front.refresh_from_db()
    return front.status, front.cause


def outcomes(front: PolicyFront) -> list[dict[str, Any]]:
    return list(front.points.values_list("outcomes", flat=True))


def test_a_form_asks_the_workers_that_load_models(front: PolicyFront, sent: Sent) -> None:
    assert sent == [("workers.front_answers", (front.pk,), "gpu")]


def test_answers_are_made_and_judged_against_the_bases(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins, sent: Sent,
        django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        front_answers.answer_front(front.pk)
    assert state(front) == ("queued", "") and sent[-1] == ("workers.front_verdicts", (front.pk,), "jobs")
    (job,) = engine
    assert (job["seed"], job["temperature"], job["batch"]) == (7, 1.0, 64), "as the evaluation of the run sampled"
    assert [policy["prompts"] for policy in job["policies"]] == [[0, 1, 2, 3]] * 2, "the run's end is known"
    assert job["prompts"]["3"][0]["content"] == "Question 3?"
    judging.front_judge(front_id=front.pk)
    assert state(front) == ("done", "")
    assert outcomes(front) == [{"factuality": [0.9, 0.5, 0.9, 0.5]}] * 2 + [{"factuality": [0.9] * 4}]
    assert len(judge.asked) == 2, "equal answers are ties, twins are one question, and the evaluation's are known"


def test_an_interrupted_job_asks_for_whole_batches_and_stores_an_answer_once(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins) -> None:
    first, second, _ = front.points.all()
    PointAnswer.objects.create(point=first, prompt=0, text="kept")
    for prompt in range(4):
        PointAnswer.objects.create(point=second, prompt=prompt, text="kept")
    front_answers.answer_front(front.pk)
    assert [(policy["id"], policy["prompts"]) for policy in engine[0]["policies"]] == [(first.pk, [0, 1, 2, 3])]
    assert list(first.answers.order_by("prompt").values_list("text", flat=True)) == ["kept", "no", "well said", "no"]


def test_batches_are_those_of_the_evaluation() -> None:
    assert front_answers.whole_batches([70], 100) == list(range(64, 100))
    assert front_answers.whole_batches([3, 130], 131) == [*range(64), 128, 129, 130]
    assert front_answers.whole_batches([], 100) == []


def test_a_judge_that_fails_says_so_and_what_was_bought_stays(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins, owner_client: Client) -> None:
    front_answers.answer_front(front.pk)
    judge.fails_after = 1
    judging.front_judge(front_id=front.pk)
    assert state(front) == ("failed", "The judge does not answer.")
    assert "Start its server. Then start it again" in front.remedy
    judge.fails_after = 10**9
    owner_client.post(f"/fronts/{front.pk}/again/")
    assert state(front) == ("queued", "")
    front_answers.answer_front(front.pk)
    assert engine[1:] == [], "no answer is made again"
    judging.front_judge(front_id=front.pk)
    assert state(front) == ("done", "") and len(judge.asked) == 2


def test_a_cancelled_job_stops_between_two_looks(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins, owner_client: Client,
        monkeypatch: pytest.MonkeyPatch) -> None:
    store = services.answers_store

    def stored_and_cancelled(**answers: Any) -> None:
        store(**answers)
        services.front_cancel(front=front)

    monkeypatch.setattr(services, "answers_store", stored_and_cancelled)
    front_answers.answer_front(front.pk)
    assert state(front) == ("cancelled", "") and PointAnswer.objects.count() == 4, "one policy answered"
    judging.front_judge(front_id=front.pk)
    assert judge.asked == []
    owner_client.post(f"/fronts/{front.pk}/again/")
    assert len(services.missing_answers(front)) == 1


def test_a_cancel_while_it_is_judged_keeps_what_was_bought(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins, owner_client: Client,
        monkeypatch: pytest.MonkeyPatch) -> None:
    front_answers.answer_front(front.pk)
    judged = services.point_judged

    def judged_and_cancelled(**point: Any) -> None:
        judged(**point)
        services.front_cancel(front=front)

    monkeypatch.setattr(services, "point_judged", judged_and_cancelled)
    judging.front_judge(front_id=front.pk)
    assert state(front) == ("cancelled", "")
    assert [bool(columns) for columns in outcomes(front)] == [True, False, False]


def test_a_front_is_taken_by_one_worker_and_not_before_its_answers_are_there(front: PolicyFront) -> None:
    assert services.front_claim_verdicts(front_id=front.pk) is None
    assert services.front_claim_answers(front_id=front.pk) is not None
    assert services.front_claim_answers(front_id=front.pk) is None


def test_a_team_buys_verdicts_for_one_at_a_time(
        front: PolicyFront, engine: list[dict[str, Any]], team: Team, sent: Sent,
        django_capture_on_commit_callbacks: Any) -> None:
    front_answers.answer_front(front.pk)
    contest = HeadToHead.objects.create(team=team, judge={}, questions=[], prompts=1, status="running")
    assert services.front_claim_verdicts(front_id=front.pk) is None
    HeadToHead.objects.update(status="queued")
    judged = services.front_claim_verdicts(front_id=front.pk)
    assert judged is not None and head_to_head_claim(head_to_head_id=contest.pk) is None
    with django_capture_on_commit_callbacks(execute=True):
        services.front_done(front=judged)
    assert sent[-1] == ("workers.head_to_head", (contest.pk,), "jobs")
    assert head_to_head_claim(head_to_head_id=contest.pk) is not None


def test_a_front_whose_worker_was_lost_is_queued_again_where_it_was(
        front: PolicyFront, engine: list[dict[str, Any]], sent: Sent, django_capture_on_commit_callbacks: Any) -> None:
    def lose() -> None:
        PolicyFront.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
        with django_capture_on_commit_callbacks(execute=True):
            services.fronts_send_again()

    services.front_claim_answers(front_id=front.pk)
    services.fronts_send_again()
    assert state(front)[0] == "answering", "its worker was just seen"
    lose()
    assert state(front)[0] == "queued" and sent[-1][0] == "workers.front_answers"
    front_answers.answer_front(front.pk)
    services.front_claim_verdicts(front_id=front.pk)
    lose()
    assert state(front)[0] == "queued" and sent[-1][0] == "workers.front_verdicts"


def test_a_policy_that_is_gone_is_named(front: PolicyFront) -> None:
    point = front.points.all()[0]
    point.parts = [["tuned:999999", 1.0]]
    point.save()
    front_answers.answer_front(front.pk)
    assert state(front) == ("failed", "A policy of “step 10” no longer exists.")
    assert front.remedy == "Make a new front without it."


def test_what_the_engine_refuses_is_kept_in_its_words(
        front: PolicyFront, engine: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_answers, "make_answers", lambda job, store, go_on: "The memory is full. Free some.")
    front_answers.answer_front(front.pk)
    assert state(front) == ("failed", "The memory is full. Free some.")
    assert "start it again" in front.remedy


def test_a_deleted_run_is_said(front: PolicyFront) -> None:
    Run.objects.filter(pk=front.run_id).delete()
    front_answers.answer_front(front.pk)
    assert state(front)[0] == "failed" and "was deleted" in front.cause


def test_measures_and_the_demo_worlds_rules_buy_nothing(
        team: Team, owner: User, owner_client: Client, engine: list[dict[str, Any]], sent: Sent) -> None:
    """More words are more of the measure: 'no' is as long as the base's, 'well said' one word longer."""
    recipe = recipe_of(judge={"kind": "rule"}, ppo={"steps": 30, "keep_every": 10}, principles=[
        {"name": "length", "measure": {"kind": "words"}, "weight": -1.0}])
    run = evaluated(team, owner, "A", ["yes"] * 6, recipe=recipe)
    owner_client.post("/fronts/new/", {"run": run.pk, "checkpoints": "1", "prompts": "4", "q": ["length"]})
    front = PolicyFront.objects.latest("pk")
    front_answers.answer_front(front.pk)
    judging.front_judge(front_id=front.pk)
    assert state(front) == ("done", "")
    said = outcomes(front)[0]["length"]
    assert said[1] == said[3] == 0.5 and said[0] == said[2] > 0.5


def test_an_evaluation_that_changed_since_is_refused(
        front: PolicyFront, engine: list[dict[str, Any]], judge: LongerWins) -> None:
    front_answers.answer_front(front.pk)
    stage = front.points.get(kind="run").evaluation
    assert stage is not None
    write_jsonl(stage.folder / "answers.jsonl", [])
    judging.front_judge(front_id=front.pk)
    assert state(front)[0] == "failed" and "has 0 now" in front.cause
