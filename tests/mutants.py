"""`python -m tests.mutants [--processes N] [NAME ...]`: small faults put into the code one by one, to see whether the
tests notice.

Each entry of `tests/mutations` is made in a fresh copy of the working tree, where the tests named with it run. It is
killed when a test fails or the time limit is passed. Before that the same tests must pass without any mutation. What
the tests need of others takes six seconds to import, so it is imported once, and each mutation runs in a fork of this
process: nothing of ours is imported before the fork, and nothing is computed (made for Linux).

The exit status is 1 when under 95 % are killed, and 2 when the list does not fit the code or the tests cannot be run.
Not part of `make test`: run it after changes to what it mutates, and replace entries that no longer fit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
SHARE = 0.95
LIMIT = 300.0  # seconds for the tests of one mutation
PASSED, FAILED = 0, 1  # exit statuses of pytest
HEAVY = ("torch", "transformers.generation", "transformers.models.gpt2.modeling_gpt2",
         "transformers.models.llama.modeling_llama", "transformers.models.qwen2.modeling_qwen2", "peft", "django.test",
         "django.forms", "django.core.management", "celery", "kombu.messaging", "aiohttp", "openai", "psycopg",
         "pydantic", "scipy.stats", "sklearn.linear_model", "hypothesis", "pytest", "pytest_django.plugin")


class StaleEntry(Exception):
    """The list of mutations does not fit the code or the tests."""


@dataclass
class Work:
    """Tests to run in a copy of the tree, with or without a mutation, and what came of it.

    `status` is pytest's exit status, None where the tests passed the time limit.
    """

    tests: Sequence[str]
    mutation: Mutation | None = None
    limit: float = LIMIT
    status: int | None = None
    output: str = ""
    seconds: float = 0.0


@dataclass
class Report:
    """What came of the mutations; the first two are of those that were run to an end."""

    killed: list[Work] = field(default_factory=list)
    survived: list[Work] = field(default_factory=list)
    errors: list[Work] = field(default_factory=list)

    def take(self, work: Work) -> None:
        """Sort a mutation in, and say at once what came of it."""
        assert work.mutation is not None
        word = {PASSED: "SURVIVED", FAILED: "killed", None: "killed (time limit)"}.get(work.status, "ERROR")
        (self.survived if word == "SURVIVED" else self.errors if word == "ERROR" else self.killed).append(work)
        print(f"{work.mutation.name}: {word}, {work.seconds:.0f} s: {work.mutation.behaviour}", flush=True)

    def end(self, equivalent: Sequence[Mutation]) -> int:
        """Print the numbers and names; the exit status."""
        run = len(self.killed) + len(self.survived)
        share = len(self.killed) / run if run else 1.0
        print(f"\n{len(self.killed)} of {run} killed ({share:.0%}), {len(equivalent)} equivalent, "
              f"{len(self.errors)} could not be run")
        for title, works in (("survived", self.survived), ("error", self.errors)):
            for work in works:
                assert work.mutation is not None
                print(f"{title}: {work.mutation.name} ({work.mutation.file}): {work.mutation.behaviour}")
        for work in self.errors:
            print(work.output[-3000:])
        for mutation in equivalent:
            print(f"equivalent: {mutation.name}: {mutation.equivalent}")
        return 2 if self.errors else int(share < SHARE)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to run; all where none is named")
    parser.add_argument("--processes", type=int, default=2, help="how many run at a time (2)")
    options = parser.parse_args(arguments)
    try:
        mutations = chosen(options.names)
        for mutation in mutations:
            mutated(mutation)
        to_run = [mutation for mutation in mutations if not mutation.equivalent]
        import_heavy()
        report = Report()
        with working_copy() as tree:
            check_without_mutation(tree, to_run, options.processes)
            for work in run_all(tree, [Work(mutation.tests, mutation) for mutation in to_run], options.processes):
                report.take(work)
    except StaleEntry as error:
        print(error, file=sys.stderr)
        return 2
    return report.end([mutation for mutation in mutations if mutation.equivalent])


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


def check_without_mutation(tree: Path, mutations: Sequence[Mutation], processes: int) -> None:
    """Raises StaleEntry where the tests fail by themselves: they could tell nothing of a mutation."""
    tests = sorted({test for mutation in mutations for test in mutation.tests})
    parts = [part for start in range(processes) if (part := tests[start::processes])]
    for work in run_all(tree, [Work(part, limit=LIMIT * len(part)) for part in parts], processes):
        if work.status != PASSED:
            raise StaleEntry(f"{work.output}\nThe tests do not pass without a mutation.")
    print(f"{len(tests)} files of tests pass without a mutation", flush=True)


# Running tests in forks ---------------------------------------------------------------------------------------------


def import_heavy() -> None:
    """Import what takes long and is not ours, so that each fork has it already."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported; and no thread survives a fork
    os.environ["TRITON_INTERPRET"] = "1"  # as in tests/conftest.py, which is imported later
    for name in HEAVY:
        importlib.import_module(name)


@contextmanager
def working_copy() -> Iterator[Path]:
    """A copy of the files that git knows or would add, with the changes that are not committed, compiled."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory(prefix="concord-mutants-") as folder:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=False)
        yield Path(folder)


def run_all(tree: Path, works: Iterable[Work], processes: int) -> Iterator[Work]:
    """Run them, so many at a time, and give each back when it has ended."""
    waiting, running = list(works)[::-1], dict[int, _Run]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                run = _Run(tree, waiting.pop())
                running[run.pid] = run
            for run in [run for run in running.values() if run.has_ended()]:
                del running[run.pid]
                yield run.close()
            time.sleep(0.05)
    finally:
        for run in running.values():
            run.close()


class _Run:
    """One fork of this process that runs tests in a folder of its own."""

    def __init__(self, tree: Path, work: Work) -> None:
        self._work = work
        self._folder = Path(tempfile.mkdtemp(prefix="concord-m-"))  # short: a socket's path has 100 bytes
        copy = self._folder / "tree"
        shutil.copytree(tree, copy)
        if work.mutation is not None:
            (copy / work.mutation.file).write_text(mutated(work.mutation), encoding="utf-8")
        self._began = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run_tests(copy, self._folder, work.tests)

    def has_ended(self) -> bool:
        """Whether its process is gone; at the time limit it is killed."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._work.status = os.waitstatus_to_exitcode(status)
            return True
        return time.monotonic() - self._began > self._work.limit

    def close(self) -> Work:
        """End what is left of it and remove its folder; the work with what came of it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._work.seconds = time.monotonic() - self._began
        self._work.output = (self._folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._work


def _run_tests(copy: Path, folder: Path, tests: Sequence[str]) -> NoReturn:
    """In the fork: become a process that has just been started in the copy, and run pytest there."""
    status = 70
    try:
        os.setsid()
        with (folder / "output.txt").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(copy)
        (folder / "var").mkdir()
        os.environ["CONCORD_TEST_VAR"] = str(folder / "var")
        sys.path[:] = [str(copy), *(entry for entry in sys.path if entry and Path(entry).resolve() != ROOT)]
        for name in [name for name, module in sys.modules.items() if _is_ours(module)]:
            del sys.modules[name]
        sys.modules["__main__"] = types.ModuleType("__main__")
        main: Callable[[list[str]], int] = importlib.import_module("pytest").main
        status = int(main(["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(status)  # what this process has at its exit belongs to the one that it was forked from


def _is_ours(module: types.ModuleType) -> bool:
    """Whether a module was read from the working tree (and not from a virtual environment in it)."""
    file = getattr(module, "__file__", None)
    path = Path(file).resolve() if file else None
    return path is not None and path.is_relative_to(ROOT) and "site-packages" not in path.parts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
