"""Stands for a stage that a fork server runs: its process id, its signals and its exit code are the stage's.

    python -I -S stage_client.py SOCKET -- python -m training stage FOLDER

Whoever started it need not know that the stage is a process elsewhere: SIGTERM and SIGINT are passed on, SIGKILL takes
the stage with it (the server sees the connection end), the exit code or the signal that ended the stage is its own. It
runs the command itself where no server answers. It imports the standard library alone, and takes 30 ms to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

LENGTH_BYTES = 4
_DIE_WITH_PARENT = "--die-with-parent"
_PARENT_SECONDS = 0.5  # between two looks whether the parent is still there


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """The next `count` bytes. Raises EOFError if the other end closes before."""
    received = bytearray()
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def ask(path: str, command: Sequence[str]) -> socket.socket:
    """The connection on which a server was asked to run the command. Raises OSError where none answers."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    request = json.dumps({"arguments": list(command[3:]), "folder": os.getcwd(), "environment": dict(os.environ)})
    body = request.encode("utf-8", "surrogateescape")
    socket.send_fds(connection, [len(body).to_bytes(LENGTH_BYTES, "big")], [0, 1, 2])
    connection.sendall(body)
    return connection


class ForkedStage:
    """The stage behind a connection: what the server says of it, and the signals passed on to it."""

    def __init__(self, connection: socket.socket, die_with_parent: bool) -> None:
        self._connection, self._die_with_parent = connection, die_with_parent
        self._received = b""
        self._pid = 0
        self._pending: list[int] = []  # signals that came before the process id
        self._parent = os.getppid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._pass_on(number))

    @property
    def began(self) -> bool:
        return self._pid != 0

    def wait(self) -> int | None:
        """The exit code as subprocess has it (negative: a signal); None if the server refused.

        Raises:
            EOFError, OSError: the server has gone, and the stage with it if it had begun.
        """
        while True:
            word, _, value = self._next_line().partition(" ")
            if word == "refused":
                return None
            if word == "exit":
                return int(value)
            self._pid = int(value)
            for number in self._pending:
                self._pass_on(number)

    def _next_line(self) -> str:
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._connection], [], [], _PARENT_SECONDS if self._die_with_parent else None)
            if ready:
                piece = self._connection.recv(256)
                if not piece:
                    raise EOFError
                self._received += piece
            elif os.getppid() != self._parent:
                self._die_with_parent = False
                self._pass_on(signal.SIGTERM)
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def _pass_on(self, number: int) -> None:
        if not self._pid:
            self._pending.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)


def end_as(code: int) -> NoReturn:
    """End this process with the exit code, or by the signal, that ended the stage."""
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
        signal.pause()
    os._exit(code)


def main(arguments: Sequence[str]) -> NoReturn:
    path, command = arguments[0], arguments[2:]
    stage: ForkedStage | None = None
    try:
        stage = ForkedStage(ask(path, command), _DIE_WITH_PARENT in command)
        if (code := stage.wait()) is not None:
            end_as(code)
    except (EOFError, OSError):
        if stage is not None and stage.began:  # it has ended with its server
            end_as(-signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    main(sys.argv[1:])
