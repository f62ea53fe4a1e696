"""The owner's side of the fork server: starts it when a stage is to be run, and ends it with this process. Torch-free.

It is made for Linux (process descriptors); elsewhere the caller runs its commands as they are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from training.run import stage_client

ENGINE = [sys.executable, "-m", "training"]
END_SECONDS = 2.0  # how long a server without stages takes to end, at most


def is_possible() -> bool:
    """Whether this system has what the server needs."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


class StageServer:
    """One fork server for the stages that this process starts, whichever of its threads does.

    Args:
        environment: of the server, None: this process's; stages that differ from it in what libraries read when they
            are imported start by themselves.
        folder: the working folder of the server, where `training` can be imported; None: this process's.
        preload: names of the modules that the server imports before it forks; None: all that stages with models need.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, folder: Path | None = None,
                 preload: Sequence[str] | None = None) -> None:
        self._environment, self._folder, self._preload = environment, folder, preload
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._home: Path | None = None

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that has `command` run by the server, which is started if it has ended.

        Only the engine's own command line is forked; any other command is returned as it is.
        """
        if list(command[:3]) != ENGINE:
            return list(command)
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            client = str(Path(stage_client.__file__).resolve())
            return [sys.executable, "-I", "-S", client, str(self._socket), "--", *command]

    @property
    def pid(self) -> int | None:
        """The process id of the server that was started last; None before the first command."""
        return self._process.pid if self._process else None

    @property
    def _socket(self) -> Path:
        assert self._home is not None
        return self._home / "socket"

    def _start(self) -> None:
        self._forget()
        self._home = Path(tempfile.mkdtemp(prefix="concord-fork-"))  # short: a socket's path has 107 characters
        reading, self._lifeline = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._socket))
            listener.listen(16)
            inherited = [listener.fileno(), reading]
            command = [sys.executable, "-m", "training.fork_server", *map(str, inherited), *(self._preload or ())]
            self._process = subprocess.Popen(command, cwd=self._folder, env=self._environment, pass_fds=inherited,
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             start_new_session=True)
        os.close(reading)

    def close(self) -> None:
        """Let the server end: at once, or when its last stage has."""
        with self._lock:
            process = self._process
            self._forget()
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)

    def _forget(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._lifeline = self._home = self._process = None


Forked = Callable[[Sequence[str]], Sequence[str]]
"""Makes of a stage's command the command that is run."""


def plainly(command: Sequence[str]) -> Sequence[str]:
    """The command as it is."""
    return command


@contextlib.contextmanager
def forking(environment: Mapping[str, str] | None = None, *, allowed: bool = True) -> Iterator[Forked]:
    """Yields a function that turns a stage's command into one run by a fork server, if that is possible and allowed."""
    if not (allowed and is_possible()):
        yield plainly
        return
    server = StageServer(environment)
    try:
        yield server.command
    finally:
        server.close()
