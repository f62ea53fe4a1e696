"""What nobody holds goes on: an expired lease, a lost message, a run that nobody advanced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone
from kombu.exceptions import ChannelError

from tests.workers.conftest import run_stage, stage_of
from webapp.accounts.models import Team
from webapp.celery import app
from webapp.datasets.models import Dataset
from webapp.labels.models import BulkAction
from webapp.runs.models import Run, Stage
from webapp.runs.services import run_cancel
from workers import reaping
from workers.leases import claim
from workers.reaping import reap

pytestmark = pytest.mark.django_db(transaction=True)
Scripted = Callable[..., Stage]


@pytest.fixture(autouse=True)
def _empty_queues() -> None:
    for queue in ("io", "gpu"):
        with app.connection_for_write() as connection:
            app.amqp.queues[queue](connection.default_channel).declare()
            connection.default_channel.queue_purge(queue)


def waiting(queue: str) -> int:
    with app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:  # Redis knows no queue without a message
            return 0


def expire(stage: Stage) -> None:
    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_stage_whose_worker_went_silent_is_queued_again_and_the_third_time_fails(scripted: Scripted) -> None:
    stage = scripted()
    for crash in (1, 2, 3):
        assert claim(stage.pk) and claim(stage.pk) is None
        reap()
        assert Stage.objects.get(pk=stage.pk).status == Stage.Status.RUNNING, "a lease that holds is left alone"
        expire(stage)
        reap()
        reap()  # another worker's
        stage.refresh_from_db()
        assert (stage.crashes, stage.lease_token) == (crash, "")
    assert stage.status == Stage.Status.FAILED
    assert "stopped responding 3 times" in stage.cause and "resume" in stage.remedy
    assert Run.objects.get().status == Run.Status.FAILED


def test_a_lost_message_is_sent_again_and_one_too_many_does_no_harm(scripted: Scripted) -> None:
    stage = scripted(steps=2)
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("gpu")
    reap()
    assert waiting("gpu") == 0, "it may still be on its way"

    Stage.objects.filter(pk=stage.pk).update(queued_at=timezone.now() - timedelta(minutes=1))
    reap()
    assert waiting("gpu") == 1
    reap()
    assert waiting("gpu") == 1, "one message is enough"

    run_stage(stage.pk)
    run_stage(stage.pk)
    assert Stage.objects.get(pk=stage.pk).attempt == 1


def test_a_run_that_nobody_advanced_goes_on(scripted: Scripted) -> None:
    stage = scripted()
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.SUCCEEDED)  # and then its worker was killed

    reap()

    assert stage_of(Run.objects.get(), "evaluate").status == Stage.Status.QUEUED


def test_an_import_of_which_nobody_has_heard_is_sent_again_and_once(team: Team, sent: list[tuple[object, ...]]) -> None:
    dataset = Dataset.objects.create(team=team, name="a", status=Dataset.Status.IMPORTING, claim="lost",
                                     heartbeat_at=timezone.now())
    reap()
    assert not sent, "its worker has just said that it goes on"

    Dataset.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    reap()
    reap()
    assert sent == [("workers.import_dataset", (dataset.pk,), "jobs")]


def test_a_lease_that_lies_hours_ahead_is_over_when_nobody_renews_it(
        scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker wrote it, died, and the machine's clock was set back by an hour."""
    stage, now = scripted(), time.monotonic()
    assert claim(stage.pk)
    Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() + timedelta(hours=1))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    reap()
    now += 1.9 * settings.LEASE_SECONDS
    reap()
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.RUNNING
    now += 0.2 * settings.LEASE_SECONDS
    reap()
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.QUEUED


def test_a_lease_that_is_renewed_holds_wherever_its_clock_stands(
        scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, now = scripted(), time.monotonic()
    assert claim(stage.pk)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for minutes in range(60, 65):
        Stage.objects.filter(pk=stage.pk).update(lease_until=timezone.now() + timedelta(minutes=minutes))
        reap()
        now += 1.5 * settings.LEASE_SECONDS
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.RUNNING


def test_a_lease_that_is_renewed_just_before_it_is_taken_back_holds(
        scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = claim(scripted().pk)
    assert claimed is not None
    monkeypatch.setattr(reaping, "_without_heartbeat", lambda: [claimed])  # as it was a moment ago
    Stage.objects.filter(pk=claimed.pk).update(lease_until=timezone.now() + timedelta(minutes=1))
    reap()
    stage = Stage.objects.get(pk=claimed.pk)
    assert (stage.status, stage.lease_token) == (Stage.Status.RUNNING, claimed.lease_token)


def test_a_cancelled_stage_whose_worker_died_stops_and_does_not_start_again(scripted: Scripted) -> None:
    stage = scripted()
    assert claim(stage.pk)
    run_cancel(run=Run.objects.get(), user=Run.objects.get().created_by)
    expire(stage)
    reap()
    assert Stage.objects.get(pk=stage.pk).status == Stage.Status.STOPPED
    assert claim(stage.pk) is None


def test_an_action_on_labels_whose_message_was_lost_is_sent_again(team: Team, sent: list[tuple[object, ...]]) -> None:
    action = BulkAction.objects.create(team=team, kind="reject", batch="b" * 32,
                                       created_at=timezone.now() - timedelta(minutes=2))
    reap()
    assert sent == [("workers.bulk_labels", (action.pk,), "jobs")]


def test_a_worker_reaps_by_itself_and_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = threading.Semaphore(0)

    def fail_every_time() -> None:
        rounds.release()
        raise OperationalError("the database is away")

    monkeypatch.setattr(reaping, "reap", fail_every_time)
    reaper = reaping.Reaper(period=0.01)
    reaper.start()
    assert all(rounds.acquire(timeout=5) for _ in range(3))
    reaper.stop()
    reaper.join(5)
    assert not reaper.is_alive()


def test_one_run_that_cannot_be_advanced_does_not_stop_the_others(scripted: Scripted, team: Team) -> None:
    lost = Run.objects.create(team=team, name="Its recipe is lost", recipe={})
    stage = scripted()
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.SUCCEEDED)
    sound = Run.objects.exclude(pk=lost.pk).get()

    reap()

    assert stage_of(sound, "evaluate").status == Stage.Status.QUEUED


def test_one_stage_or_one_kind_of_work_that_cannot_be_taken_back_keeps_nothing_else_waiting(
    sent: list[tuple[object, ...]], team: Team, monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = {"status": "running", "lease_token": "x", "lease_until": timezone.now() - timedelta(seconds=1)}
    stages = [Stage.objects.create(team=team, identity=f"{number:064d}", name="label", kind="label", **over)
              for number in range(2)]
    action = BulkAction.objects.create(team=team, kind="approve", batch="a" * 32,
                                       created_at=timezone.now() - timedelta(hours=1))
    take_back = reaping._take_back

    def broken(stage: Stage) -> None:
        if stage.pk == stages[0].pk:
            raise ValueError("A string literal cannot contain NUL (0x00) characters.")
        take_back(stage)

    monkeypatch.setattr(reaping, "_take_back", broken)
    monkeypatch.setattr(reaping, "imports_requeue", lambda: 1 / 0)
    reap()
    assert Stage.objects.get(pk=stages[1].pk).status == Stage.Status.QUEUED
    assert ("workers.bulk_labels", action.pk) in {(name, *arguments) for name, arguments, *_ in sent}
