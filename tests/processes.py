"""Start a real process for a test, wait for what it should do, and take it down with all its children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, look: Callable[[], T | None], seconds: float, every: float = 0.2) -> T:
    """The first truthy thing that `look` finds; an AssertionError that says what was waited for if there is none."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := look():
            return result
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of Concord, with the venv's programs first on the PATH."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CONCORD_", "DJANGO_"))}
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
    return inherited | settings


class Process:
    """A command in a session of its own, with its output in a file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                                          stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, what: str, look: Callable[[], T | None], seconds: float) -> T:
        """As `wait_for`, but gives up at once if the process ends, and shows its last lines."""
        def look_and_live() -> T | None:
            result = look()
            if not result and self.popen.poll() is not None:
                raise AssertionError(f"ended with {self.popen.returncode} before: {what}")
            return result
        try:
            return wait_for(what, look_and_live, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- its last lines ---\n{self.output()[-4000:]}") from None

    def end(self, seconds: float = 20) -> int:
        """Ask it to end, as a terminal or a container does; kill what is left of it after a while."""
        with suppress(ProcessLookupError):
            self.popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.wait()


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Process]:
    process = Process(command, environment, log)
    try:
        yield process
    finally:
        process.end()
