"""People and workers who change the same runs at one moment: no stage goes on that nobody wants, on any database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.runs import scheduling, services
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from webapp.runs.services import run_cancel

pytestmark = pytest.mark.django_db(transaction=True)


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    def work() -> None:
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def halted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], tuple[threading.Event, threading.Event]]:
    """Make the first call of a function wait before it returns: gives the events that it is there and may go on."""

    def halt(module: Any, name: str) -> tuple[threading.Event, threading.Event]:
        real, reached, go_on = getattr(module, name), threading.Event(), threading.Event()

        def stop_once(*arguments: Any, **named: Any) -> Any:
            is_first = not reached.is_set()
            value = real(*arguments, **named)
            if is_first:
                reached.set()
                assert go_on.wait(20)
            return value

        monkeypatch.setattr(module, name, stop_once)
        return reached, go_on

    return halt


def test_two_cancels_at_once_stop_the_stage_that_both_runs_use(
    team: Team, owner: User, halted: Callable[..., tuple[threading.Event, threading.Event]],
) -> None:
    first, stages = make_run(team, owner, until="label:toxicity")
    second, _ = make_run(team, owner, until="label:toxicity", share=stages)
    shared = stages["label:toxicity"]
    Stage.objects.filter(pk=shared.pk).update(status=Stage.Status.RUNNING)
    reached, go_on = halted(services, "unshared")
    first_thread = in_thread(lambda: run_cancel(run=first, user=owner))
    assert reached.wait(20)
    second_thread = in_thread(lambda: run_cancel(run=second, user=owner))
    second_thread.join(0.5)  # it waits for the first one, or has ended before it
    go_on.set()
    first_thread.join(30)
    second_thread.join(30)
    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.CANCELLED}
    assert Stage.objects.get(pk=shared.pk).stop_requested


def test_a_stage_that_is_being_queued_while_its_run_is_cancelled_does_not_run(
    team: Team, owner: User, sent: Any, halted: Callable[..., tuple[threading.Event, threading.Event]],
) -> None:
    run, stages = make_run(team, owner, until="sample")
    Stage.objects.filter(pk__in=[stage.pk for stage in stages.values()]).update(status=Stage.Status.WAITING)
    reached, go_on = halted(scheduling, "stages_by_name")  # `advance` knows that the run is running, and queues next
    worker = in_thread(lambda: advance(run=Run.objects.get(pk=run.pk)))
    assert reached.wait(20)
    person = in_thread(lambda: run_cancel(run=Run.objects.get(pk=run.pk), user=owner))
    person.join(0.5)
    go_on.set()
    worker.join(30)
    person.join(30)
    assert Run.objects.get(pk=run.pk).status == Run.Status.CANCELLED
    assert Stage.objects.get(pk=stages["sample"].pk).status == Stage.Status.STOPPED


def test_neither_waits_for_the_other_for_ever(team: Team, owner: User, sent: Any) -> None:
    """Cancelling and advancing the same runs over and over from two sides ends, with every run cancelled."""
    runs = [make_run(team, owner, until="ppo", name=f"run {number}")[0] for number in range(4)]
    began = time.monotonic()

    def advance_all() -> None:
        for _ in range(5):
            for run in Run.objects.order_by("pk"):
                advance(run=run)

    threads = [in_thread(advance_all), in_thread(lambda: [run_cancel(run=run, user=owner) for run in reversed(runs)])]
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < 60
    assert set(Run.objects.values_list("status", flat=True)) == {Run.Status.CANCELLED}
