"""The engine's command that makes the answers of several policies, in a process of its own whose lines are stored."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from django.conf import settings

from training.run.artifacts import write_json
from workers.policies import LocatedPolicy
from workers.processes import environment

LOOK = 1.0  # seconds between two looks at what is new
TAIL = 2000  # characters of the output that an error is looked for in
Answers = list[dict[str, Any]]


def policy_entry(key: int, files: LocatedPolicy, prompts: list[int]) -> dict[str, Any]:
    """A policy of a job of `training.policy_answers`, with the numbers of the prompts that it is to answer."""
    return {"id": key, "base": str(files.base), "is_folder": isinstance(files.base, Path),
            "parts": [[str(adapter), weight] for adapter, weight in files.parts], "prompts": prompts,
            "device": files.device, "precision": files.precision}


def make_answers(job: Mapping[str, Any], store: Callable[[Answers], None], go_on: Callable[[], bool]) -> str | None:
    """Run the command on a job of `training.policy_answers`.

    Args:
        store: takes answers as they come; some may come twice where an earlier process was killed.
        go_on: asked every second; False ends the process.

    Returns:
        Why it failed; "" where every answer was made; None where it was ended.
    """
    with tempfile.TemporaryDirectory(prefix="concord-answers-") as name:
        folder = Path(name)
        write_json(folder / "job.json", dict(job))
        out, log = folder / "answers.jsonl", folder / "output.log"
        out.touch()
        command = [sys.executable, "-m", "training", "answer", str(folder / "job.json"), "--out", str(out)]
        with out.open() as lines, log.open("w+") as output:
            process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment(), stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=subprocess.STDOUT)
            try:
                if not _followed(process, lines, store, go_on):
                    return None
            finally:
                process.kill()
                process.wait()
        return "" if process.returncode == 0 else _why(process.returncode, log.read_text(errors="replace")[-TAIL:])


def _followed(process: subprocess.Popen[bytes], lines: IO[str], store: Callable[[Answers], None],
              go_on: Callable[[], bool]) -> bool:
    """Store what the process writes until it ends; False where it is to be ended before."""
    rest = ""
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK)
        rest = _stored(rest + lines.read(), store)
        if not go_on():
            return False
    _stored(rest + lines.read(), store)
    return True


def _stored(text: str, store: Callable[[Answers], None]) -> str:
    """Store the complete lines of what was read; returns the beginning of the next one."""
    complete, _, rest = text.rpartition("\n")
    store([json.loads(line) for line in complete.splitlines() if line])
    return rest


def _why(code: int, output: str) -> str:
    said = next((line for line in reversed(output.splitlines()) if line.startswith("error: ")), "")
    if said:
        return said.removeprefix("error: ")
    if code < 0:
        return f"The system killed the process (signal {-code}), most likely because memory ran out."
    return f"The process ended with code {code} and gave no reason."
