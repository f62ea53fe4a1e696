"""A process that has imported torch and forks stages: a stage then starts in a fraction of a second, not in seven.

    python -m training.fork_server LISTENER LIFELINE [MODULE ...]

Its owner (`training.run.stage_server`) starts it. A client (`training.run.stage_client`) asks for each stage over the
UNIX socket: the command, the working folder, the environment and the standard streams. The server forks and tells the
client the stage's process id, and later how it ended. A client that goes away takes its stage with it, as a signal to
the process group of a plain stage would.

It imports and forks, nothing else: it has one thread of its own, has computed nothing and has never touched CUDA, which
does not survive a fork. It ends when its owner has gone (end of file on the inherited descriptor LIFELINE) or when
nobody asked for anything in IDLE_SECONDS, once no stage of it is left. LISTENER is inherited too: what is asked for
while the imports go on waits there.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from training.run.stage_client import LENGTH_BYTES, receive_exactly

IDLE_SECONDS = 600.0
REQUEST_SECONDS = 10.0  # for a client to say what it wants; the server serves nobody else meanwhile

READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH_", "PYTORCH_", "PYTHON", "LD_LIBRARY_PATH", "OMP_WAIT_POLICY")
"""Beginnings of variables that libraries read when they are imported: a stage with other values is not forked."""

PRELOADED = ("training.__main__", "training.stages.sft", "training.stages.sample", "training.stages.label",
             "training.stages.draw", "training.stages.preference_model", "training.stages.weights",
             "training.stages.ppo", "training.stages.evaluate", "training.models.preflight",
             "transformers.models.llama.modeling_llama", "transformers.models.qwen2.modeling_qwen2",
             "transformers.models.gpt2.modeling_gpt2", "transformers.generation", "peft", "safetensors.torch")
"""Names, so that this module can be read without torch. What is missing here a stage imports by itself."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class _Stage:
    """A stage that was forked: its process, and the client that waits for its end."""

    pid: int
    pidfd: int
    client: socket.socket


def read_at_import(environment: dict[str, str]) -> dict[str, str]:
    """The variables of an environment that a stage must have in common with the server."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_IMPORT)}


class ForkServer:
    """Forks a stage for each client, and tells the client how it ended."""

    def __init__(self, listener: socket.socket, lifeline: int, environment: dict[str, str]) -> None:
        self._listener, self._lifeline = listener, lifeline
        self._stages: set[_Stage] = set()
        self._owned = True
        self._used_at = time.monotonic()
        self._environment = read_at_import(environment)
        self._selector = selectors.DefaultSelector()
        self._watch(listener, self._accept)
        self._watch(lifeline, self._disowned)

    def serve(self) -> None:
        """Fork stages until nobody can ask for one any more, and all have ended."""
        while self._stages or (self._owned and time.monotonic() - self._used_at < IDLE_SECONDS):
            for key, _ in self._selector.select(timeout=None if self._stages else IDLE_SECONDS):
                key.data()

    def _watch(self, source: Any, then: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, then)

    def _disowned(self) -> None:
        self._owned = False
        self._selector.unregister(self._lifeline)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._used_at = time.monotonic()
        client.settimeout(REQUEST_SECONDS)
        streams: list[int] = []
        try:
            header, streams, _, _ = socket.recv_fds(client, LENGTH_BYTES, 3)
            request = json.loads(receive_exactly(client, int.from_bytes(header, "big")))
            if read_at_import(request["environment"]) == self._environment and len(streams) == 3:
                self._fork(client, request, streams)
            else:
                client.sendall(b"refused\n")
                client.close()
        except (OSError, ValueError, EOFError):
            client.close()
        finally:
            for stream in streams:
                os.close(stream)

    def _fork(self, client: socket.socket, request: dict[str, Any], streams: list[int]) -> None:
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._run(client, request, streams, server)
        stage = _Stage(pid, os.pidfd_open(pid), client)
        self._stages.add(stage)
        self._watch(stage.pidfd, lambda: self._ended(stage))
        self._watch(client, lambda: self._abandoned(stage))
        with contextlib.suppress(OSError):
            client.sendall(f"pid {pid}\n".encode())

    def _ended(self, stage: _Stage) -> None:
        _, status = os.waitpid(stage.pid, 0)
        with contextlib.suppress(OSError):
            stage.client.sendall(f"exit {os.waitstatus_to_exitcode(status)}\n".encode())
        self._forget_client(stage)
        self._selector.unregister(stage.pidfd)
        os.close(stage.pidfd)
        self._stages.remove(stage)
        self._used_at = time.monotonic()

    def _abandoned(self, stage: _Stage) -> None:
        """A client sends nothing after its request: it has gone, and was killed before its stage had ended."""
        if stage not in self._stages:  # it ended in the same moment, and its process id may be another's by now
            return
        self._forget_client(stage)
        for kill in (os.killpg, os.kill):  # it leads no group before its first steps
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(stage.pid, signal.SIGKILL)

    def _forget_client(self, stage: _Stage) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(stage.client)
        stage.client.close()

    def _run(self, client: socket.socket, request: dict[str, Any], streams: list[int], server: int) -> NoReturn:
        """In the child: become the process that the command would have been, and end."""
        code = 1
        try:
            os.setsid()
            _die_with(server)
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
            for descriptor in {*self._descriptors(), client.fileno(), *streams}:
                os.close(descriptor)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            code = _stage_main(request["arguments"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _descriptors(self) -> set[int]:
        """What belongs to the server alone."""
        clients = {stage.client.fileno() for stage in self._stages} | {stage.pidfd for stage in self._stages}
        owned = {self._listener.fileno(), self._lifeline} if self._owned else {self._lifeline}
        return {number for number in clients | owned if number >= 0}


def _stage_main(arguments: list[str]) -> int:
    """`python -m training ARGUMENTS` in this process, with the threads that the environment asks for."""
    from training.__main__ import main, set_defaults

    set_defaults(os.environ)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    torch = sys.modules.get("torch")
    if torch is not None and threads.isdigit() and int(threads):  # else torch's own choice stays, as in a plain stage
        torch.set_num_threads(int(threads))
    return main(arguments)


def _die_with(parent: int) -> None:
    """Let the kernel end this process with the server: nobody else could tell its client how it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    listener, lifeline = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    environment = dict(os.environ)  # before imports add to it
    for name in sys.argv[3:] or PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector leaves the pages alone that stages share
    ForkServer(listener, lifeline, environment).serve()


if __name__ == "__main__":
    main()
