"""From the line that a stage writes to the pixel in Chromium, with ten viewers on one run.

    python benchmarks/live_latency.py [--seconds 40] [--viewers 10]

Concord is started as `manage.py up` does it. A stage that only reports (`synthetic_stage.py`) writes some ten lines a
second; the real supervisor tails, records and notifies; one viewer is a real Chromium with the run's page open, the
others are WebSockets. For each line: the time at which Chromium is about to paint the frame after the one in which the
reward's chart was drawn with it, less the time that stands in the line.

The last line is `median_ms: 140 p95_ms: 230`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import repository
import websockets
from playwright.sync_api import Page, sync_playwright

from tests.stack import Stack, Visitor, stack

CHROMIUM = os.environ.get("CONCORD_TEST_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WATCH = """() => {
  window.drawn = [];
  const box = document.querySelector("#chart-reward .plot");
  new MutationObserver(() => {
    const value = Number(/([0-9]+) now/.exec(box.getAttribute("aria-label"))?.[1] ?? 0);
    requestAnimationFrame(() => window.drawn.push([value, Date.now()]));
  }).observe(box, { attributes: true, attributeFilter: ["aria-label"] });
}"""


class Sockets(threading.Thread):
    """Viewers without a browser: they take everything and count it."""

    def __init__(self, url: str, run: int, cookie: str, count: int) -> None:
        super().__init__(daemon=True)
        self.address, self.origin = f"{url.replace('http', 'ws', 1)}/ws/runs/{run}/", url
        self.cookie, self.count = cookie, count
        self.message_counts = [0] * count

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self.count)))

    async def _one(self, number: int) -> None:
        headers = {"Cookie": self.cookie}
        async with websockets.connect(self.address, additional_headers=headers, origin=self.origin) as socket:
            await socket.send(json.dumps({"since": {}}))
            with suppress(websockets.ConnectionClosed):  # Concord ends at the end
                async for _ in socket:
                    self.message_counts[number] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--viewers", type=int, default=10)
    options = parser.parse_args()
    with stack() as concord, sync_playwright() as playwright:
        follower = subprocess.Popen([sys.executable, str(repository.ROOT / "benchmarks" / "synthetic_stage.py"),
                                     "follow"], env=concord.environment, stdout=subprocess.PIPE, text=True)
        try:
            assert follower.stdout is not None
            synthetic = json.loads(follower.stdout.readline())
            visitor = Visitor(concord.url).login()
            page = open_page(playwright, concord, visitor, synthetic["run"])
            cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies().items())
            sockets = Sockets(concord.url, synthetic["run"], cookie, options.viewers - 1)
            sockets.start()
            time.sleep(1)
            drawn = watch(page, Path(synthetic["folder"]), options.seconds)
            report(Path(synthetic["folder"]) / "events.jsonl", drawn, sockets.message_counts)
        finally:
            follower.kill()
    return 0


def open_page(playwright: object, concord: Stack, visitor: Visitor, run: int) -> Page:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)  # type: ignore[attr-defined]
    context = browser.new_context(base_url=concord.url, viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": name, "value": value, "url": concord.url}
                         for name, value in visitor.cookies().items()])
    page: Page = context.new_page()
    page.goto(f"/runs/{run}/")
    return page


def watch(page: Page, folder: Path, seconds: float) -> list[tuple[int, float]]:
    """Let the stage begin; (value, milliseconds) of every drawing of the reward's chart."""
    (folder / "go").touch()
    page.locator("#chart-reward").wait_for(timeout=30_000)
    page.locator("#chart-reward").scroll_into_view_if_needed()  # a chart is drawn when it is in view
    page.locator("#chart-reward canvas").wait_for(timeout=30_000)
    time.sleep(2)
    page.evaluate(WATCH)
    page.wait_for_timeout(seconds * 1000)
    return [(value, at) for value, at in page.evaluate("window.drawn")]


def report(stream: Path, drawn: list[tuple[int, float]], message_counts: list[int]) -> None:
    events = [json.loads(line) for line in stream.read_text().splitlines()]
    written = {int(event["values"]["reward/total"]): event["time"] * 1000 for event in events
               if event["kind"] == "metric"}
    first, last = drawn[0][0], drawn[-1][0]
    latencies = []
    for value, at in written.items():
        if first < value <= last:
            drawn_at = next(moment for drawn_value, moment in drawn if drawn_value >= value)
            latencies.append(drawn_at - at)
    p95 = statistics.quantiles(latencies, n=20)[-1]
    print(f"{len(latencies)} lines, {len(drawn)} drawings, {len(message_counts)} more viewers with "
          f"{min(message_counts, default=0)} to {max(message_counts, default=0)} messages each")
    print(f"median_ms: {statistics.median(latencies):.0f} p95_ms: {p95:.0f}")


if __name__ == "__main__":
    sys.exit(main())
