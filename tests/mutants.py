"""`python -m tests.mutants [NAME ...]`: small faults put into the code one by one, to see whether the tests notice.

Each mutation of `tests/mutations.py` is made in a fresh copy of the working tree, where the tests named with it run.
It is killed when a test fails or the time limit is passed. Before that the same tests must pass without any mutation.
The exit status is 1 when under 95 % are killed, and 2 when the list does not fit the code. Not part of `make test`:
run it after changes to what it mutates, and replace entries that no longer fit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
SHARE = 0.95
LIMIT = 300.0  # seconds for the tests of one mutation
PASSED, FAILED = 0, 1  # exit statuses of pytest


class StaleEntry(Exception):
    """The list of mutations does not fit the code or the tests."""


def main(names: Sequence[str]) -> int:
    try:
        mutations = chosen(names)
        for mutation in mutations:
            mutated(mutation)
        check_without_mutation(mutations)
        survivors = [mutation for mutation in mutations if not is_killed(mutation)]
    except StaleEntry as error:
        print(error, file=sys.stderr)
        return 2
    killed = len(mutations) - len(survivors)
    print(f"{killed} of {len(mutations)} killed ({killed / len(mutations):.0%})")
    return int(killed < SHARE * len(mutations))


def chosen(names: Sequence[str]) -> list[Mutation]:
    """The mutations of these names, all of them where none is named."""
    known = {mutation.name for mutation in MUTATIONS}
    if len(known) < len(MUTATIONS):
        raise StaleEntry("two mutations have the same name")
    if unknown := sorted(set(names) - known):
        raise StaleEntry(f"there is no mutation {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [mutation for mutation in MUTATIONS if not names or mutation.name in names]


def mutated(mutation: Mutation) -> str:
    """The text of the mutation's file with the fault in it."""
    path = ROOT / mutation.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(mutation.old)) != 1:
        raise StaleEntry(f"{mutation.name}: {mutation.file} holds {count} times, not once: {mutation.old}")
    if missing := [test for test in mutation.tests if not (ROOT / test).is_file()]:
        raise StaleEntry(f"{mutation.name}: there is no {', '.join(missing)}")
    return text.replace(mutation.old, mutation.new)


def check_without_mutation(mutations: Sequence[Mutation]) -> None:
    """Raises StaleEntry where the tests fail by themselves: they could tell nothing of a mutation."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    with working_copy() as copy:
        status, output = run_tests(copy, tests, LIMIT * len(tests))
    if status != PASSED:
        raise StaleEntry(f"{output}\nThe tests do not pass without a mutation.")


def is_killed(mutation: Mutation) -> bool:
    """Make the mutation in a copy, run its tests there and print what came of it."""
    began = time.monotonic()
    with working_copy() as copy:
        (copy / mutation.file).write_text(mutated(mutation), encoding="utf-8")
        status, output = run_tests(copy, mutation.tests, LIMIT)
    if status not in (PASSED, FAILED, None):
        raise StaleEntry(f"{output}\n{mutation.name}: the tests could not be run.")
    word = {PASSED: "SURVIVED", FAILED: "killed", None: "killed (time limit)"}[status]
    print(f"{mutation.name}: {word}, {time.monotonic() - began:.0f} s: {mutation.behaviour}", flush=True)
    return status != PASSED


@contextmanager
def working_copy() -> Iterator[Path]:
    """A copy of the files that git knows or would add, with the changes that are not committed."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(prefix="concord-mutant-") as folder:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        yield Path(folder)


def run_tests(copy: Path, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
    """pytest's exit status, None where it passed the limit, and its output."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", *tests]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=copy, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status: int | None = process.wait(limit)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status = None
        output.seek(0)
        return status, output.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
