"""A supervisor runs a stage in a process of its own; whatever is killed, no point is lost and none comes twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from django.db import OperationalError

from tests.workers.conftest import SCRIPT, Background, points, run_stage, small_recipe, stage_of
from training.run.artifacts import write_json
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.series.writer import SeriesWriter
from webapp.runs.services import run_cancel, run_create, run_resume
from workers import leases, processes, supervisor

pytestmark = pytest.mark.django_db(transaction=True)
Scripted = Callable[..., Stage]
Start = Callable[[Stage], Background]


def test_a_stage_is_recorded_whole_and_the_next_one_is_queued(scripted: Scripted) -> None:
    stage = scripted(steps=700)

    run_stage(stage.pk)

    stage.refresh_from_db()
    assert stage.status == Stage.Status.SUCCEEDED and stage.summary == {"steps": 700}
    assert points(stage) == points(stage, "reward") == list(range(1, 701))
    assert stage.samples.count() == 700 and stage.log.filter(code="high_kl").count() == 700
    assert (stage.progress_done, stage.progress_total, stage.last_step) == (700, 700, 700)
    assert not stage.lease_token and stage.pid is None
    assert stage_of(Run.objects.get(), "evaluate").status == Stage.Status.QUEUED


def test_a_killed_process_goes_on_from_its_checkpoint_and_no_point_is_lost_or_doubled(scripted: Scripted) -> None:
    stage = scripted(steps=12, die_at=8)

    run_stage(stage.pk)
    stage.refresh_from_db()
    assert (stage.status, stage.crashes) == (Stage.Status.QUEUED, 1)
    assert points(stage) == list(range(1, 9))

    run_stage(stage.pk)
    stage.refresh_from_db()
    assert (stage.status, stage.attempt, stage.rewinds) == (Stage.Status.SUCCEEDED, 2, 1)
    assert points(stage) == list(range(1, 13))
    assert list(stage.samples.values_list("step", flat=True)) == list(range(1, 13))
    assert list(stage.log.exclude(code="").values_list("step", flat=True)) == list(range(1, 13))


def test_a_stage_that_is_killed_again_and_again_fails_with_cause_and_remedy(scripted: Scripted) -> None:
    stage = scripted(die_at=3, die_always=True)

    for _ in range(3):
        run_stage(stage.pk)

    stage.refresh_from_db()
    assert stage.status == Stage.Status.FAILED
    assert "SIGKILL" in stage.cause and "memory" in stage.cause and "resume" in stage.remedy
    assert Run.objects.get().status == Run.Status.FAILED


def test_a_failure_is_told_in_the_stages_own_words(scripted: Scripted) -> None:
    stage = scripted(failure={"kind": "judge", "cause": "No key.", "remedy": "Set one.", "details": "trace"})

    run_stage(stage.pk)

    stage.refresh_from_db()
    assert (stage.status, stage.failure_kind, stage.cause, stage.remedy, stage.details) == (
        Stage.Status.FAILED, "judge", "No key.", "Set one.", "trace")


def test_a_second_delivery_does_nothing(scripted: Scripted, background: Start) -> None:
    stage = scripted(steps=30, pause=0.03)
    first = background(stage)
    first.wait_for_step(2)
    pid = stage.pid

    run_stage(stage.pk)  # returns at once

    first.wait_for_step(4)
    assert (stage.attempt, stage.pid) == (1, pid)
    assert first.join().status == Stage.Status.SUCCEEDED


def test_a_message_for_a_stage_that_was_cancelled_in_the_queue_starts_nothing(scripted: Scripted, owner: User) -> None:
    stage = scripted()
    run_cancel(run=Run.objects.get(), user=owner)

    run_stage(stage.pk)

    stage.refresh_from_db()
    assert (stage.status, stage.attempt, stage.started_at) == (Stage.Status.STOPPED, 0, None)
    assert not (stage.folder / "events.jsonl").exists()


def test_who_lost_the_lease_records_nothing_and_ends_the_process(scripted: Scripted, background: Start) -> None:
    stage = scripted(steps=1000, pause=0.02)
    first = background(stage)
    first.wait_for_step(3)
    pid = stage.pid

    Stage.objects.filter(pk=stage.pk).update(lease_token="somebody else's")
    seq = Stage.objects.get(pk=stage.pk).events_seq

    after = first.join()
    assert (after.lease_token, after.status, after.events_seq) == ("somebody else's", Stage.Status.RUNNING, seq)
    assert points(after) == list(range(1, after.last_step + 1))
    assert pid is not None and not alive(pid)


def test_a_database_that_cannot_be_written_to_costs_time_and_no_point(
        scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, failures, flush = scripted(steps=40, pause=0.02), [0], SeriesWriter.flush

    def failing(self: SeriesWriter) -> None:
        flush(self)
        failures[0] += 1
        if failures[0] in {2, 3}:
            raise OperationalError("the disk is full")

    monkeypatch.setattr(SeriesWriter, "flush", failing)
    run_stage(stage.pk)

    stage.refresh_from_db()
    assert failures[0] > 3 and stage.status == Stage.Status.SUCCEEDED
    assert points(stage) == list(range(1, 41)) and stage.samples.count() == 40


def test_cancelling_reaches_the_process_and_resuming_goes_on_from_its_checkpoint(
        scripted: Scripted, background: Start, owner: User) -> None:
    stage = scripted(steps=60, pause=0.03)
    first = background(stage)
    first.wait_for_step(3)
    run = Run.objects.get()

    run_cancel(run=run, user=owner)

    stopped = first.join()
    assert (stopped.status, run.status) == (Stage.Status.STOPPED, Run.Status.CANCELLED)
    assert 3 <= stopped.last_step < 60

    run_resume(run=run, user=owner)
    stage.refresh_from_db()
    assert (stage.status, run.status) == (Stage.Status.QUEUED, Run.Status.RUNNING)
    write_json(stage.folder / "script.json", {"steps": 60})
    run_stage(stage.pk)
    assert points(stage) == list(range(1, 61))
    assert Stage.objects.get(pk=stage.pk).crashes == 0


def test_cancelling_a_run_does_not_stop_a_stage_that_another_run_uses(
        scripted: Scripted, background: Start, team: Team, owner: User) -> None:
    stage = scripted(steps=20, pause=0.05)
    run = Run.objects.get()
    first = background(stage)
    first.wait_for_step(2)
    other = run_create(team=team, user=owner, recipe=small_recipe(name="the same under another name"), dataset=None)
    assert stage_of(other, "ppo") == stage

    run_cancel(run=run, user=owner)

    assert first.join().status == Stage.Status.SUCCEEDED
    other.refresh_from_db()
    assert other.status == Run.Status.RUNNING


def test_a_stage_that_does_not_listen_is_killed(
        scripted: Scripted, background: Start, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "GRACE", 0.3)
    stage = scripted(steps=1000, pause=0.02, deaf=True)
    first = background(stage)
    first.wait_for_step(2)

    run_cancel(run=Run.objects.get(), user=owner)

    stopped = first.join()
    assert (stopped.status, stopped.crashes) == (Stage.Status.STOPPED, 0)


def test_a_worker_that_ends_gives_its_stage_back_with_a_checkpoint(scripted: Scripted, background: Start) -> None:
    stage = scripted(steps=60, pause=0.03)
    first = background(stage)
    first.wait_for_step(7)

    first.shutdown.set()

    given_back = first.join()
    assert (given_back.status, given_back.crashes, given_back.lease_token) == (Stage.Status.QUEUED, 0, "")
    write_json(stage.folder / "script.json", {"steps": 60})
    run_stage(stage.pk)
    assert points(stage) == list(range(1, 61))


def test_what_is_left_of_an_earlier_attempt_is_ended_first(scripted: Scripted) -> None:
    stage = scripted(steps=10_000, pause=0.02)
    leftover = subprocess.Popen([*SCRIPT, str(stage.folder)], start_new_session=True)
    innocent = subprocess.Popen(["sleep", "60"], start_new_session=True)
    events = stage.folder / "events.jsonl"
    while not events.exists() or events.stat().st_size < 500:
        time.sleep(0.02)
    try:
        Stage.objects.filter(pk=stage.pk).update(pid=leftover.pid, host=leases.HOST)
        write_json(stage.folder / "script.json", {"steps": 30})
        run_stage(stage.pk)
        assert leftover.wait(5) == -signal.SIGKILL

        processes.kill_leftover(innocent.pid, stage.folder)  # the number was given to another process since
        assert innocent.poll() is None
    finally:
        leftover.kill()
        innocent.kill()
        innocent.wait()
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.SUCCEEDED
    assert points(stage)[-1] == 30


def test_a_deleted_folder_starts_the_stream_anew(scripted: Scripted) -> None:
    stage = scripted(steps=12, die_at=9)
    run_stage(stage.pk)
    (stage.folder / "events.jsonl").unlink()
    (stage.folder / "checkpoint.json").unlink()

    run_stage(stage.pk)

    assert points(stage) == list(range(1, 13))


def test_a_stage_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONCORD_SECRET_KEY", "CONCORD_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY",
                 "CONCORD_JUDGE_LOCAL_KEY", "HF_HOME"):
        monkeypatch.setenv(name, "hidden")

    assert "hidden" not in {value for name, value in processes.environment().items() if name != "HF_HOME"}
    environment = processes.environment("CONCORD_JUDGE_LOCAL_KEY")
    assert environment["CONCORD_JUDGE_LOCAL_KEY"] == environment["HF_HOME"] == "hidden"
    assert "OPENAI_API_KEY" not in environment
    assert "CONCORD_SECRET_KEY" not in processes.environment("CONCORD_SECRET_KEY")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
