"""`python -m tests.passes`: every test on the embedded default, then what touches a database or a broker once more on
PostgreSQL and Redis. Where no server answers this says so and passes; under CI=true it fails.

A pass has two lanes that run side by side, one for the end-to-end tests and one for all others: both cores are busy.
The first lane is shown while it runs, the other when it has ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from tests.servers import POSTGRES_URL, REDIS_URL, what_is_missing

PATIENCE = 15 * 60.0  # seconds that a lane may take


class Lane(NamedTuple):
    name: str
    arguments: list[str]


EMBEDDED = (Lane("units", ["tests", "--ignore=tests/e2e"]), Lane("end to end", ["tests/e2e"]))
SERVERS = (Lane("units", ["tests/webapp", "tests/workers"]), Lane("end to end", ["tests/e2e", "-m", "not once"]))


def main() -> int:
    began = time.monotonic()
    failed, closing = run_pass("SQLite and Valkey", EMBEDDED, {})
    if missing := what_is_missing():
        in_ci = bool(os.environ.get("CI"))
        closing.append(f"PostgreSQL and Redis: {'FAILED' if in_ci else 'skipped'}, {missing} does not answer")
        failed |= in_ci
    else:
        addresses = {"CONCORD_DATABASE_URL": POSTGRES_URL, "CONCORD_REDIS_URL": REDIS_URL}
        failed_there, closing_there = run_pass("PostgreSQL and Redis", SERVERS, addresses)
        failed, closing = failed | failed_there, closing + closing_there
    print(f"\nAll passes took {time.monotonic() - began:.0f} s:")
    print("\n".join(closing), flush=True)
    return int(failed)


def run_pass(name: str, lanes: tuple[Lane, Lane], settings: dict[str, str]) -> tuple[bool, list[str]]:
    """Whether a lane failed, and the closing line of each."""
    # One thread a process: two lanes, and the processes that they start, share the cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | settings
    shown, hidden = lanes
    print(f"\n{name}: {shown.name} and {hidden.name}, side by side", flush=True)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as beside:
        other = subprocess.Popen(_command(hidden), env=environment, stdout=beside, stderr=subprocess.STDOUT)
        one = subprocess.Popen(_command(shown), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
        assert one.stdout is not None
        for line in one.stdout:
            print(line, end="", flush=True)
            output.write(line)
        codes = [one.wait(), _wait(other)]
        texts = []
        for file in (output, beside):
            file.seek(0)
            texts.append(file.read())
    print(f"\n{name}: {hidden.name}\n{texts[1]}", flush=True)
    return any(codes), [f"{name}, {lane.name}: {_closing(text)}" for lane, text in zip(lanes, texts, strict=True)]


def _command(lane: Lane) -> list[str]:
    return [sys.executable, "-m", "pytest", "--durations=10", *lane.arguments, *sys.argv[1:]]


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _closing(text: str) -> str:
    """pytest's own last line, such as `12 passed in 3.45s`."""
    found = re.findall(r"^=* ?(.*\b(?:passed|failed|errors?|no tests ran)\b.* in [\d.]+s.*?) ?=*$", text, re.MULTILINE)
    return found[-1] if found else "ended without a closing line"


if __name__ == "__main__":
    sys.exit(main())
