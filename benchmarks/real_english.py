"""The run in real English as a user sees it: start Concord, log in, send the preset's form, wait, read what changed.

    python benchmarks/real_english.py --seed 1

Concord is started in a folder of its own, where nothing is unpacked or computed yet. What is measured: on how many
principles the measure is better on held-out prompts, its 95 % interval without 0; seconds until the run is done and
until its first point is there to be read; and the most memory that all of Concord's processes took together (PSS: what
processes share counts once).

The last line is `truth_up: 3/3 seconds: 1480 memory_gb: 6.1 first_point: 14`.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import repository  # noqa: F401

from tests.stack import Stack, Visitor, wait_until

LONGEST = 60 * 60.0
EVERY = 2.0  # seconds between two looks at the memory


class MemoryWatch(threading.Thread):
    """Keeps the most bytes that a stack's processes took at one time, those that it forked for its stages included."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack, self._over = stack, threading.Event()
        self.most = 0

    def run(self) -> None:
        assert self._stack.process is not None
        parent = psutil.Process(self._stack.process.popen.pid)
        while not self._over.wait(EVERY):
            with suppress(psutil.Error):
                processes = [parent, *parent.children(recursive=True)]
                self.most = max(self.most, sum(proportional_bytes(process.pid) for process in processes))

    def end(self) -> None:
        self._over.set()


def proportional_bytes(pid: int) -> int:
    """The PSS of a process; 0 if it has ended."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        if match := re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE):
            return int(match[1]) * 1024
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as at_the_end:
        stack = Stack()
        at_the_end.callback(stack.remove)
        stack.start()
        memory = MemoryWatch(stack)
        memory.start()
        at_the_end.callback(memory.end)
        return follow(Visitor(stack.url).login(), options.seed, memory)


def follow(visitor: Visitor, seed: int, memory: MemoryWatch) -> int:
    """Start the run with this seed and watch it to its end."""
    began = time.monotonic()
    run = visitor.start_run("real_english", seed=str(seed))
    first = wait_until("the first point", lambda: visitor.series(run) and time.monotonic() - began, 600)
    print(f"run {run}: first point after {first:.1f} s", flush=True)
    stages: dict[str, float] = {}

    def ended() -> str:
        status = visitor.status(run)
        for tag in visitor.series(run):
            stages.setdefault(tag.partition("/")[0], time.monotonic() - began)
        return "" if status == "running" else status

    status = wait_until("the end of the run", ended, LONGEST)
    seconds = time.monotonic() - began
    if status != "done":
        print(f"run {run} is {status} after {seconds:.0f} s; its page says why: /runs/{run}/")
        return 1
    print("first seen after seconds: " + "  ".join(f"{name} {at:.0f}" for name, at in stages.items()))
    rows = re.findall(r'<tr(?: class="is-warning")?><th scope="row">.*?</tr>', visitor.get(f"/runs/{run}/").text,
                      re.DOTALL)
    words = [match[1] for row in rows if "not rewarded" not in row
             and (match := re.search(r'<td class="change-words">(.*?)</td>', row))]
    for row in rows:
        print(" ".join(re.sub(r"<[^>]+>", " ", row).split()))
    better = sum(sentence.startswith("Better") for sentence in words)
    print(f"truth_up: {better}/{len(words)} seconds: {seconds:.0f} memory_gb: {memory.most / 1e9:.1f} "
          f"first_point: {first:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
