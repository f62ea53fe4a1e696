"""The process of a stage: its environment, how it is started, and how it is ended with all of its children."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.conf import settings

from training.run import stage_server

# The variables that training needs, the hub's tokens among them. Others are not passed on: the site's secret, the
# database, the broker.
_PASSED = re.compile(
    r"(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|XDG_CACHE_HOME|HF_\w+|TORCH_\w+|"
    r"PYTORCH_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|OMP_NUM_THREADS|MKL_NUM_THREADS|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|"
    r"(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|SYSTEMROOT)")
LONGEST_END = 5.0  # seconds within which a killed process must be gone
_KEY = re.compile(r"(OPENAI|CONCORD_JUDGE)[A-Z0-9_]*_KEY")


def environment(key_variable: str = "", saved_key: str = "") -> dict[str, str]:
    """The environment of a stage, with the judge's key that its recipe names: a saved one, or one of the worker's."""
    passed = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    if _KEY.fullmatch(key_variable) and (key := saved_key or os.environ.get(key_variable, "")):
        passed[key_variable] = key
    allowed = ",".join(settings.JUDGE_ALLOWED_HOSTS)
    return passed | {"PYTHONUNBUFFERED": "1", "CONCORD_JUDGE_ALLOWED_HOSTS": allowed}


_servers: list[stage_server.StageServer] = []  # one per worker, created at first use


def forked(command: Sequence[str]) -> Sequence[str]:
    """The command that runs a stage by forking a process that has already imported torch; see `stage_server`."""
    if not (settings.FORK_SERVER and stage_server.is_possible()):
        return command
    if not _servers:
        _servers.append(stage_server.StageServer(environment(), settings.BASE_DIR))
        atexit.register(_servers[0].close)
    return _servers[0].command(command)


def start(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a stage in a new process group, so that it can be ended together with its children."""
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(command, cwd=settings.BASE_DIR, env=dict(env), stdin=subprocess.DEVNULL,
                                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill the process and its children. When this returns, no process works in the stage's folder any more."""
    signal_group(process, signal.SIGKILL)
    process.wait()
    give_up = time.monotonic() + LONGEST_END
    while _is_locked(folder / "lock") and time.monotonic() < give_up:
        time.sleep(0.02)


def _is_locked(path: Path) -> bool:
    """Whether a process works in the folder: a forked stage may end a moment after the process that represents it."""
    try:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def kill_leftover(pid: int | None, folder: Path) -> None:
    """End the process of an earlier attempt that outlived its worker.

    Process ids are reused: only a process whose command names this stage's folder is killed. Where the system does not
    show commands, the lock on the folder keeps two processes from working in it.
    """
    if not pid:
        return
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return
    if os.fsencode(folder) not in words:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    give_up = time.monotonic() + LONGEST_END
    while Path(f"/proc/{pid}").exists() and _alive(pid) and time.monotonic() < give_up:
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def last_lines(path: Path, count: int = 40) -> str:
    """The last lines of a log, for the page of a failed run."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\x00", "�").splitlines()[-count:])
