"""`manage.py up`: what is killed comes back, Ctrl-C takes everything down, and a second start goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from tests.processes import ROOT, wait_for
from tests.stack import Stack, Visitor, wait_until

pytestmark = [pytest.mark.once, pytest.mark.long]  # it starts what it needs itself, whatever this pass runs on

# What tells each child of `up` by its command line.
WORDS = {"web": "uvicorn", "io": "io@", "gpu": "gpu@", "jobs": "jobs@", "inference": "inference@", "valkey": "-server"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    yield stack
    stack.remove()


def children(stack: Stack) -> dict[str, psutil.Process]:
    """The living children of `up` by name. (A Valkey server overwrites its environment: `stack` cannot tell it.)"""
    assert stack.process is not None
    child_by_name = {}
    for child in psutil.Process(stack.process.popen.pid).children():
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            line = "" if child.status() == psutil.STATUS_ZOMBIE else " ".join(child.cmdline())
            child_by_name |= {name: child for name, word in WORDS.items() if word in line}
    return child_by_name


def test_everything_is_killed_and_comes_back(stack: Stack) -> None:
    stack.start()
    assert stack.process is not None
    wait_for("the address", lambda: "log in as demo / concord-demo" in stack.process.output(), 10)
    killed = children(stack)
    assert set(killed) == set(WORDS)

    for process in killed.values():
        process.kill()

    wait_for("all of them again", lambda: set(children(stack)) == set(WORDS) and not any(
        child.pid == killed[name].pid for name, child in children(stack).items()), 30)
    wait_until("the web", stack.answers, 60)


def test_a_second_one_in_the_same_folder_is_refused(stack: Stack) -> None:
    second = subprocess.run([sys.executable, "manage.py", "up", "--port", "1"], cwd=ROOT, env=stack.environment,
                            capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "running in" in second.stderr and "already" in second.stderr


def test_ctrl_c_ends_everything_and_the_next_start_goes_on(stack: Stack) -> None:
    run = Visitor(stack.url).login().start_run("demo")
    wait_for("the training process", lambda: stack.processes("training", "stage"), 60)

    assert stack.process is not None
    living = children(stack)
    stack.process.popen.send_signal(signal.SIGINT)
    assert stack.process.popen.wait(40) == 0
    assert stack.processes() == [] and not any(process.is_running() for process in living.values())

    stack.start()
    assert Visitor(stack.url).login().status(run) == "running"


def test_killing_up_itself_leaves_no_orphan(stack: Stack) -> None:
    assert stack.process is not None
    living = children(stack)
    stack.process.popen.kill()
    stack.process.popen.wait()
    wait_for("nothing left", lambda: not stack.processes() and not any(
        process.is_running() for process in living.values()), 30)
