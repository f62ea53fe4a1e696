"""How right the time left on a run's page is: the demo run, looked at every two seconds.

    python benchmarks/time_left.py [--seeds 1 2 3] [--first 0]

One run goes before, as the estimate is made from the team's earlier stages. Then for each seed: at every look the
page's "about 2 min left" is added to the seconds since the start, and compared with what the run took in all, from a
tenth of the run on. The last line is `worst: 0.21 median: 0.05 without: 0`: the largest and the median difference as
shares of the whole time over all seeds, and looks at which the page said nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time

import repository  # noqa: F401

from tests.stack import DEMO_PASSWORD, DEMO_USER, Stack, Visitor, wait_until

LONGEST = 30 * 60.0
EVERY = 2.0  # seconds
SECONDS = {"s": 1, "min": 60, "h": 3600}
LEFT = re.compile(r'id="eta"[^>]*>\s*(?:About|At least) ([^<,]+?) (?:left|of work left)')


def shown(page: str) -> float | None:
    """The seconds that are left by the words of a run's page; None if it does not say."""
    words = LEFT.search(page)
    return words and sum(float(number) * SECONDS[unit] for number, unit in re.findall(r"([\d.]+) (s|min|h)", words[1]))


def watch(visitor: Visitor, seed: int) -> tuple[float, list[tuple[float, float | None]]]:
    """Seconds of a whole run, and each look: seconds since the start, seconds that the page says are left."""
    began = time.monotonic()
    run = visitor.start_run("demo", seed=str(seed), name=f"Seed {seed}")
    looks = []
    while visitor.status(run) == "running":
        looks.append((time.monotonic() - began, shown(visitor.get(f"/runs/{run}/").text)))
        time.sleep(EVERY)
    if (status := visitor.status(run)) != "done":
        sys.exit(f"run {run} is {status}; its page says why: /runs/{run}/")
    return time.monotonic() - began, looks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--first", type=int, default=0, help="seed of the run that goes before")
    options = parser.parse_args()
    stack = Stack()
    try:
        visitor = Visitor(stack.start().url).login(DEMO_USER, DEMO_PASSWORD)
        before = visitor.start_run("demo", seed=str(options.first), name="Before")
        wait_until("the end of the run before", lambda: visitor.status(before) != "running", LONGEST)
        errors: list[float] = []
        without = 0
        for seed in options.seeds:
            total, looks = watch(visitor, seed)
            counted = [(since, left) for since, left in looks if since >= total / 10]
            of_seed = [(since + left) / total - 1 for since, left in counted if left is not None]
            without += sum(left is None for _, left in counted)
            errors += map(abs, of_seed)
            print(f"seed {seed}: {total:.0f} s, {len(of_seed)} looks, from {min(of_seed):+.2f} to {max(of_seed):+.2f}",
                  flush=True)
    finally:
        stack.remove()
    print(f"worst: {max(errors):.2f} median: {statistics.median(errors):.2f} without: {without}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
