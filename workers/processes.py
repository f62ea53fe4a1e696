"""The process of a stage: what it may know, how it is started, and how it is made to end with all of its children."""

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

# What training needs of the environment. Everything else stays here: the site's secret, the database, the broker.
_PASSED = re.compile(
    r"(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|XDG_CACHE_HOME|HF_\w+|TORCH_\w+|"
    r"PYTORCH_\w+|CUDA_\w+|NVIDIA_\w+|NCCL_\w+|OMP_NUM_THREADS|MKL_NUM_THREADS|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|"
    r"(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|SYSTEMROOT)")
# Tokens of the hub are for models and data sets of the hub: they are training's to use.
LONGEST_END = 5.0  # seconds until a process that was killed is gone
_KEY = re.compile(r"(OPENAI|CONCORD_JUDGE)[A-Z0-9_]*_KEY")


def environment(key_variable: str = "", saved_key: str = "") -> dict[str, str]:
    """The environment of a stage, with the one judge's key that its recipe names: a saved one, or the worker's own."""
    passed = {name: value for name, value in os.environ.items() if _PASSED.fullmatch(name)}
    if _KEY.fullmatch(key_variable) and (key := saved_key or os.environ.get(key_variable, "")):
        passed[key_variable] = key
    allowed = ",".join(settings.JUDGE_ALLOWED_HOSTS)
    return passed | {"PYTHONUNBUFFERED": "1", "CONCORD_JUDGE_ALLOWED_HOSTS": allowed}


_servers: list[stage_server.StageServer] = []  # one for the whole worker, made when it is first needed


def forked(command: Sequence[str]) -> Sequence[str]:
    """The command that runs a stage of this worker by forking a process that has torch already; see `stage_server`."""
    if not (settings.FORK_SERVER and stage_server.is_possible()):
        return command
    if not _servers:
        _servers.append(stage_server.StageServer(environment(), settings.BASE_DIR))
        atexit.register(_servers[0].close)
    return _servers[0].command(command)


def start(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a stage in a process group of its own, so that it can be ended together with its children."""
    with (folder / "output.log").open("ab") as output:
        return subprocess.Popen(command, cwd=settings.BASE_DIR, env=dict(env), stdin=subprocess.DEVNULL,
                                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill the process and whatever it started; when this returns, nobody works in the stage's folder any more."""
    signal_group(process, signal.SIGKILL)
    process.wait()
    give_up = time.monotonic() + LONGEST_END
    while _is_locked(folder / "lock") and time.monotonic() < give_up:
        time.sleep(0.02)


def _is_locked(path: Path) -> bool:
    """Whether a process works in the folder: a forked stage ends a moment after the process that stands for it."""
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

    A process id is used again sooner or later: only one that names this stage's folder is ours. Where the system does
    not tell, the lock on the folder keeps two from working in it.
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
    """The end of a log, for the page of a failed run."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\x00", "�").splitlines()[-count:])
