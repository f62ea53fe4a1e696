"""Which stage a free worker takes: the oldest run's, whatever message woke it, unless people moved or paused a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.workers.conftest import complete, run_before, stage_of
from training.run.jobs import LOCKED
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from workers import leases, supervisor
from workers.leases import claim, claim_next
from workers.reaping import reap
from workers.supervisor import run_next

pytestmark = pytest.mark.django_db(transaction=True)
IO, GPU = Stage.Queue.IO, Stage.Queue.GPU
S = Stage.Status


def taken(queue: str) -> Stage:
    """The stage that a free worker takes now."""
    stage = claim_next(queue)
    assert stage is not None
    return stage


def finish(stage: Stage) -> None:
    """As if its worker had ended it."""
    complete(stage)
    for run in Run.objects.filter(uses__stage=stage):
        advance(run=run)


def runs_that_differ_in_ppo(count: int, team: Team, owner: User) -> list[Run]:
    return [run_before("ppo", team, owner, ppo={"steps": 10 + number}, seed=number) for number in range(count)]


def test_the_oldest_run_goes_first_though_a_later_one_was_ready_before_it(team: Team, owner: User) -> None:
    first = run_before("preference_model", team, owner, seed=1)
    second = run_before("ppo", team, owner, seed=2)
    assert stage_of(second, "ppo").queued_at > stage_of(first, "preference_model:toxicity").queued_at

    order = []
    for _ in range(4):
        order.append(taken(GPU))
        finish(order[-1])

    assert [stage.name for stage in order] == ["preference_model:toxicity", "preference_model:conciseness", "weights",
                                               "ppo"]
    assert order[3] == stage_of(first, "ppo"), "the first run's training goes before the second's"


def test_three_runs_and_then_a_fourth_end_in_the_order_in_which_they_were_started(team: Team, owner: User) -> None:
    runs = runs_that_differ_in_ppo(3, team, owner)
    at_work = taken(GPU)
    runs.append(run_before("evaluate", team, owner, seed=9))  # its evaluation is ready before two of the trainings

    ended: list[Run] = []
    while len(ended) < 4:
        finish(at_work)
        ended += [run for run in Run.objects.filter(status=Run.Status.SUCCEEDED).order_by("pk") if run not in ended]
        at_work = claim_next(GPU) or at_work

    assert ended == runs


def test_two_workers_take_two_stages_and_each_once(team: Team, owner: User) -> None:
    runs = runs_that_differ_in_ppo(2, team, owner)
    start, claimed = threading.Barrier(4), []

    def work() -> None:
        try:
            start.wait(10)
            claimed.append(claim_next(GPU))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    stages = [stage for stage in claimed if stage is not None]
    assert sorted(stage.pk for stage in stages) == sorted(stage_of(run, "ppo").pk for run in runs)
    assert {stage.attempt for stage in stages} == {1} and len(claimed) == 4


def test_a_worker_that_was_too_late_for_a_stage_takes_the_next(
        team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = runs_that_differ_in_ppo(2, team, owner)
    faster: list[Stage | None] = []

    def claim_after_another(stage_id: int) -> Stage | None:
        if not faster:
            faster.append(claim(stage_id))  # between this worker's look and its claim
        return claim(stage_id)

    monkeypatch.setattr(leases, "claim", claim_after_another)

    assert taken(GPU) == stage_of(second, "ppo") and faster == [stage_of(first, "ppo")]


def test_a_stage_of_several_runs_belongs_to_the_first_of_them(team: Team, owner: User) -> None:
    shared = run_before("ppo", team, owner, seed=1)
    run_before("ppo", team, owner, seed=2)
    run_before("ppo", team, owner, seed=1, name="the same under another name")

    assert [taken(GPU), taken(GPU)] == [stage_of(shared, "ppo"), stage_of(Run.objects.order_by("pk")[1], "ppo")]
    assert claim_next(GPU) is None, "the third run waits for the stage of the first"


def test_the_first_run_is_cancelled_and_what_it_shares_goes_on_in_the_order_of_who_else_needs_it(
        team: Team, owner: User) -> None:
    shared = run_before("ppo", team, owner, seed=1)
    second = run_before("ppo", team, owner, seed=2)
    third = run_before("ppo", team, owner, seed=1, name="the same under another name")
    Run.objects.filter(pk=shared.pk).update(status=Run.Status.CANCELLED)

    assert [taken(GPU), taken(GPU)] == [stage_of(second, "ppo"), stage_of(third, "ppo")]


def test_labels_at_the_pace_of_a_judge_do_not_keep_another_runs_labels_waiting(team: Team, owner: User) -> None:
    first = run_before("label", team, owner, seed=1)
    second = run_before("label", team, owner, seed=2)

    order = [taken(IO) for _ in range(4)]

    assert [Run.objects.get(uses__stage=stage) for stage in order] == [first, second, first, second]


def test_a_message_is_answered_with_the_first_stage_and_one_too_many_with_none(
        scripted: Callable[..., Stage]) -> None:
    stage = scripted(steps=3)

    run_next(IO)
    assert Stage.objects.get(pk=stage.pk).attempt == 0, "it loads a model: not for workers that ask judges"
    run_next(GPU)
    stage.refresh_from_db()
    assert (stage.status, stage.attempt) == (S.SUCCEEDED, 1)


def test_a_stage_whose_folder_is_still_in_use_lets_others_go_first(
        scripted: Callable[..., Stage], team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = scripted()
    other = stage_of(run_before("ppo", team, owner, seed=5), "ppo")
    with monkeypatch.context() as patch:
        patch.setattr(supervisor._Attempt, "_supervise", lambda self, prepared: LOCKED)
        run_next(GPU)
    stage.refresh_from_db()
    assert (stage.status, stage.crashes) == (S.QUEUED, 0)

    assert taken(GPU) == other
    Stage.objects.filter(pk=stage.pk).update(locked_until=timezone.now() - timedelta(seconds=1))
    assert taken(GPU) == stage


def test_a_queued_stage_that_no_run_wants_any_more_leaves_the_queue(scripted: Callable[..., Stage]) -> None:
    stage = scripted()
    Run.objects.update(status=Run.Status.CANCELLED)  # its worker ended at that moment, and gave it back

    assert claim_next(GPU) is None
    reap()
    assert Stage.objects.get(pk=stage.pk).status == S.STOPPED
