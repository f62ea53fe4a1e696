"""The demo run as a user sees it: start Concord, log in, send the form of the demo preset, wait, read the result.

    python benchmarks/demo.py --seed 1 [--url http://127.0.0.1:8000]

Without --url it starts `manage.py up` in a folder of its own and takes it down at the end. What is measured: seconds
until the login page answers, until the first metric of the run is there to be read, until the run is done; the share of
held-out prompts on which the demo world's judge prefers the tuned policy to its base, and the worst of the principles.

The last line is `win_rate: 0.81 worst_principle: 0.52 seconds: 280 first_point: 21`.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack

import repository  # noqa: F401

from tests.stack import DEMO_PASSWORD, DEMO_USER, Stack, Visitor, wait_until

LONGEST = 30 * 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", help="a running Concord; without it one is started")
    parser.add_argument("--user", default=DEMO_USER)
    parser.add_argument("--password", default=DEMO_PASSWORD)
    options = parser.parse_args()
    with ExitStack() as at_the_end:
        url = options.url
        if url is None:
            began = time.monotonic()
            stack = Stack()
            at_the_end.callback(stack.remove)
            url = stack.start().url
            print(f"up after {time.monotonic() - began:.1f} s", flush=True)
        return follow(Visitor(url).login(options.user, options.password), options.seed)


def follow(visitor: Visitor, seed: int) -> int:
    """Start the demo run with this seed and watch it to its end."""
    began = time.monotonic()
    run = visitor.start_run("demo", seed=str(seed))
    first = wait_until("the first point", lambda: visitor.series(run) and time.monotonic() - began, 300)
    print(f"run {run}: first point after {first:.1f} s", flush=True)

    def ended() -> str:
        status = visitor.status(run)
        return "" if status == "running" else status

    status = wait_until("the end of the run", ended, LONGEST)
    seconds = time.monotonic() - began
    if status != "done":
        print(f"run {run} is {status} after {seconds:.0f} s; its page says why: /runs/{run}/")
        return 1
    rates = {tag.removeprefix("win_rate/"): points["value"][-1] for tag, points in visitor.series(run).items()
             if tag.startswith("win_rate/")}
    overall = rates.pop("overall")
    print("  ".join(f"{name}: {rate:.3f}" for name, rate in sorted(rates.items())))
    print(f"win_rate: {overall:.2f} worst_principle: {min(rates.values()):.2f} seconds: {seconds:.0f} "
          f"first_point: {first:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
