"""`python -m tests.passes`: style and types, every test on the embedded default, and what touches a database or a
broker once more on PostgreSQL and Redis. Where no server answers this says so and passes; under CI=true it fails.

The engine's tests know no database and run once. A pass over the rest has two lanes, one for the end-to-end tests and
one for all others. Three lanes of tests run at a time: two left two cores idle for 45 % of the time, since tests wait
for processes, pages and servers. `make lint` runs beside the first. Each is shown when it has ended.

On a machine so slow that all would take longer than CI waits, what comes last is cut, and the last lines say so: tests
marked `long` begin only within LATEST (`python -m pytest -m long` runs them alone), and the second pass ends after
PATIENCE, as passed if all that it ran has passed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.servers import POSTGRES_URL, REDIS_URL, what_is_missing

PATIENCE = 22 * 60.0  # seconds that everything may take
TO_END = 60.0  # seconds that a lane gets to stop what it started
LATEST = 13 * 60.0  # seconds after which no long tests begin
AT_A_TIME = 3  # lanes
INTERRUPTED = 2  # pytest's exit code


class Lane(NamedTuple):
    name: str
    arguments: list[str]  # of pytest
    settings: dict[str, str] = {}
    is_long: bool = False
    may_be_cut: bool = False

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "pytest", "--durations=10", *self.arguments, *sys.argv[1:]]


class Lint(NamedTuple):
    name: str = "Style, types and dependencies"
    command: list[str] = ["make", "--no-print-directory", "lint"]
    settings: dict[str, str] = {}


ADDRESSES = {"CONCORD_DATABASE_URL": POSTGRES_URL, "CONCORD_REDIS_URL": REDIS_URL}
SHORT, ON_BOTH = ["-m", "not long"], ["-m", "not once and not long"]
ENGINE = Lane("The engine", ["tests/training", *SHORT])
END_TO_END = Lane("SQLite and Valkey, end to end", ["tests/e2e", *SHORT])
UNITS = Lane("SQLite and Valkey, units", ["tests", "--ignore=tests/e2e", "--ignore=tests/training", *SHORT])
SERVERS_END_TO_END = Lane("PostgreSQL and Redis, end to end", ["tests/e2e", *ON_BOTH], ADDRESSES)
SERVERS_UNITS = Lane("PostgreSQL and Redis, units", ["tests/webapp", "tests/workers", *ON_BOTH], ADDRESSES,
                     may_be_cut=True)
LONG = (Lane("Long tests, end to end", ["tests/e2e", "-m", "long"], is_long=True),
        Lane("Long tests, the engine", ["tests/training", "-m", "long"], is_long=True),
        Lane("Long tests, units", ["tests", "--ignore=tests/e2e", "--ignore=tests/training", "-m", "long"],
             is_long=True))
# Of the lanes that run at a time some should mostly wait, as end-to-end tests do; the longest ones come first.
EMBEDDED = (END_TO_END, ENGINE, UNITS, *LONG)
ALL = (END_TO_END, ENGINE, UNITS, SERVERS_END_TO_END, SERVERS_UNITS, *LONG)


def main() -> int:
    began = time.monotonic()
    failed, closing = False, []
    lanes: tuple[Lane, ...] = EMBEDDED
    if missing := what_is_missing():
        failed = bool(os.environ.get("CI"))
        closing.append(f"PostgreSQL and Redis: {'FAILED' if failed else 'skipped'}, {missing} does not answer")
    else:
        lanes = ALL
    with ThreadPoolExecutor(AT_A_TIME) as pool, ThreadPoolExecutor(1) as beside:
        linting = beside.submit(run_lane, Lint(), began)
        results = list(pool.map(lambda lane: run_lane(lane, began), lanes))
        results.insert(0, linting.result())
    failed |= any(code for code, _ in results)
    print(f"\nAll passes took {time.monotonic() - began:.0f} s:")
    print("\n".join([*(line for _, line in results), *closing]), flush=True)
    return int(failed)


def run_lane(lane: Lane | Lint, began: float) -> tuple[int, str]:
    """The lane's exit code and its closing line; its output is printed when it has ended."""
    since = time.monotonic() - began
    if isinstance(lane, Lane) and lane.is_long and since > LATEST:
        return 0, f"{lane.name}: LEFT OUT, as all others took {since:.0f} s on this machine"
    # One thread per process: the lanes, and the processes that they start, share the cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | lane.settings
    print(f"{lane.name}: begins", flush=True)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(lane.command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            code = process.wait(PATIENCE - since)
        except subprocess.TimeoutExpired:
            code = _end(process)
        output.seek(0)
        text = output.read()
    print(f"\n{lane.name}\n{text}", flush=True)
    if isinstance(lane, Lint):
        return code, f"{lane.name}: {'FAILED' if code else 'passed'}"
    closing = _closing(text)
    if code == INTERRUPTED:
        closing += f", then CUT OFF after {PATIENCE:.0f} s of all passes"
        code = int(not lane.may_be_cut or "failed" in closing or "error" in closing)
    return code, f"{lane.name}: {closing}"


def _end(process: subprocess.Popen[bytes]) -> int:
    """Interrupt a lane, so that it stops what it started and says how far it came; its exit code."""
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _closing(text: str) -> str:
    """pytest's own last line, such as `12 passed in 3.45s`."""
    lines = re.findall(r"^=* ?(.*\b(?:passed|failed|errors?|no tests ran)\b.* in [\d.]+s.*?) ?=*$", text, re.MULTILINE)
    return lines[-1] if lines else "ended without a closing line"


if __name__ == "__main__":
    sys.exit(main())
