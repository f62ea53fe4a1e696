"""kill -9 in the middle of PPO: the run ends by itself, and no metric row is lost or doubled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import SMALL
from tests.processes import wait_for
from tests.stack import Stack, Visitor, wait_until, with_it_gone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]
STEPS = 14


def training_process(concord: Stack) -> psutil.Process:
    return concord.processes("-m training", "stage")[-1]


def gpu_worker(concord: Stack) -> psutil.Process:
    return concord.processes("celery", "-Q gpu")[0]


def web_process(concord: Stack) -> psutil.Process:
    return concord.processes("uvicorn")[0]


def small(**changes: str) -> dict[str, Any]:
    return {**SMALL, **changes}


def reached(visitor: Visitor, run: int) -> int:
    steps = visitor.series(run).get("reward/total", {}).get("step", [0])
    return int(steps[-1])


@pytest.mark.parametrize(("victim", "rate"), [
    pytest.param(training_process, "0.0011", marks=[pytest.mark.once, pytest.mark.long]),  # it knows no database
    (gpu_worker, "0.0012"), (web_process, "0.0013"),
])
def test_after_a_kill_in_the_middle_of_ppo_the_run_ends_and_every_step_is_there_once(
        concord: Stack, visitor: Visitor, finished_run: int, victim: Callable[[Stack], psutil.Process], rate: str,
) -> None:
    run = visitor.start_run("demo", **small(ppo__steps=str(STEPS), ppo__learning_rate=rate), name=f"Without {rate}")
    wait_until("the middle of PPO", lambda: reached(visitor, run) >= 5, 200)
    with_it_gone(victim(concord))

    wait_for("the site to answer", concord.answers, 60)
    wait_until("the end of the run", lambda: visitor.status(run) != "running", 300)
    assert visitor.status(run) == "done", "it went on by itself"
    series = visitor.series(run)
    of_ppo = {tag: points["step"] for tag, points in series.items() if tag.startswith(("reward/", "kl/", "policy/"))}
    assert len(of_ppo) >= 5
    for tag, steps in of_ppo.items():
        assert steps == list(range(1, STEPS + 1)), f"{tag} has lost or doubled a step"


@pytest.mark.once
@pytest.mark.long
def test_the_whole_stack_killed_goes_on_where_it_stopped(concord: Stack, visitor: Visitor, finished_run: int) -> None:
    """A laptop whose battery died: everything is gone at once, and `manage.py up` is typed again."""
    run = visitor.start_run("demo", **small(ppo__steps=str(STEPS), ppo__learning_rate="0.0014"), name="Battery died")
    wait_until("the middle of PPO", lambda: reached(visitor, run) >= 5, 200)
    assert concord.process is not None
    for process in [psutil.Process(concord.process.popen.pid), *concord.processes()]:
        with_it_gone(process)
    concord.start()
    wait_until("the end of the run", lambda: visitor.status(run) != "running", 300)
    assert visitor.status(run) == "done"
    assert visitor.series(run)["reward/total"]["step"] == list(range(1, STEPS + 1))
