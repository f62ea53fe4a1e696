"""Runs all processes of Concord on a laptop: one log, restarts after crashes, and an orderly shutdown.

Each child runs in its own session, so that Ctrl-C in the terminal reaches only this process. On Linux the children die
with this process even if it is killed. Independent of Django.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_PAUSE = 15.0  # seconds between two starts of a child that keeps dying
HEALTHY = 30.0  # a child that lived this long starts anew without a pause
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """A program to run. Higher `rank`s are stopped later; `patience`: seconds to wait before it is killed."""

    name: str
    command: Sequence[str]
    rank: int = 0
    patience: float = 5.0


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.0
    start_at: float = 0.0


class Keeper:
    """Starts programs and keeps them running until told to stop."""

    def __init__(self, programs: Sequence[Program], *, folder: Path, environment: Mapping[str, str],
                 say: Callable[[str, str], None]) -> None:
        self._children = [_Child(program) for program in programs]
        self._folder, self._environment, self._say = folder, dict(environment), say
        self._stopping = threading.Event()
        self._hurry = threading.Event()

    def start(self, *names: str) -> None:
        """Start these programs, or all. From the main thread only: a child's life is tied to the thread."""
        for child in self._children:
            if child.process is None and (not names or child.program.name in names):
                self._start(child)

    def has(self, name: str) -> bool:
        return any(child.program.name == name for child in self._children)

    def take_ended(self, name: str) -> int | None:
        """The exit code, once, of a program that ended by itself; `start` may then restart it. None while it runs."""
        child = next(child for child in self._children if child.program.name == name)
        code = child.process.poll() if child.process is not None else None
        if code is not None:
            child.process = None
        return code

    def stop_soon(self) -> None:
        """Ask `run` to stop; safe in a signal handler. A second call kills everything at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def run(self, look: Callable[[], None] = lambda: None) -> None:
        """Supervise the children and call `look` ten times per second until asked to stop; then stop them."""
        try:
            while not self._stopping.wait(0.1):
                for child in self._children:
                    self._watch(child)
                look()
        finally:
            self.stop()

    def stop(self) -> None:
        """End all children, lowest rank first, each rank together."""
        for rank in sorted({child.program.rank for child in self._children}):
            living = [child for child in self._children if child.program.rank == rank and _lives(child)]
            for child in living:
                _signal(child, signal.SIGTERM)
            give_up = time.monotonic() + max((child.program.patience for child in living), default=0.0)
            while any(map(_lives, living)) and time.monotonic() < give_up and not self._hurry.is_set():
                time.sleep(0.05)
            for child in filter(_lives, living):
                self._say(child.program.name, "did not end in time and is killed")
                _signal(child, signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                child.process.wait()

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(
            child.program.command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None)
        child.started = time.monotonic()
        threading.Thread(target=self._read, args=(child.program.name, child.process), daemon=True).start()

    def _watch(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is not None and (code := child.process.poll()) is not None:
            child.pause = 0.0 if now - child.started > HEALTHY else min(max(child.pause * 2, 0.5), LONGEST_PAUSE)
            child.start_at = now + child.pause
            child.process = None
            self._say(child.program.name, f"ended with code {code}; restarting it")
        if child.process is None and child.start_at and now >= child.start_at:
            self._start(child)

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._say(name, line.decode(errors="replace").rstrip())


def _lives(child: _Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, number)


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_parent = os.getpid()


def _die_with_parent() -> None:
    """In the child, before its program: the kernel kills it when the thread that started it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _parent:  # it ended in between
        os._exit(1)
