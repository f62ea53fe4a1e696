"""Every page at a desk and on a phone, light and dark: it fits, it says nothing on the console, it loads nothing from
elsewhere, and axe finds nothing serious. With CONCORD_SCREENSHOTS=1 there are screenshots in var/screenshots.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as TooLong

from tests.e2e.conftest import new_context
from tests.processes import ROOT, wait_for
from tests.stack import Stack, Visitor, form_fields

pytestmark = [pytest.mark.e2e, pytest.mark.once, pytest.mark.long, pytest.mark.timeout(400)]

SCREENSHOTS = ROOT / "var" / "screenshots"
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
PAGES = {
    "login": "/login/",
    "runs": "/runs/",
    "run-new": "/runs/new/",
    "run-new-large": "/runs/new/?preset=large_gpu",
    "run": "/runs/{run}/",
    "run-failed": "/runs/{failed}/",
    "rollouts": "/runs/{run}/rollouts/?sort=reward",
    "what-if": "/runs/{run}/what-if/?scalarization.function=soft_max_min",
    "principles": "/principles/",
    "principle": "/principles/{principle}/",
    "principle-new": "/principles/new/",
    "principle-edit": "/principles/{principle}/edit/",
    "datasets": "/datasets/",
    "dataset-new": "/datasets/new/",
    "dataset": "/datasets/{dataset}/",
    "dataset-search": "/datasets/{dataset}/?q=what",
    "dataset-row": "/datasets/{dataset}/rows/1/edit/",
    "dataset-ratings": "/datasets/{dataset}/ratings/",
    "dataset-profile": "/datasets/{dataset}/profile/",
    "dataset-curate": "/datasets/{dataset}/curate/",
    "dataset-bad-rows": "/datasets/{dataset}/rejected/",
    "dataset-columns": "/datasets/{uploaded}/columns/",
    "labels": "/labels/",
    "label": "/labels/{label}/",
    "paper": "/runs/paper/",
    "runs-compare": "/runs/compare/?run={run}&run={failed}",
    "sweeps": "/sweeps/",
    "sweep-new": "/sweeps/new/?run={run}",
    "label-quality": "/labels/quality/",
    "judges": "/judges/",
    "judge": "/judges/{judge}/",
    "judge-new": "/judges/new/",
    "compare": "/judges/principles/{principle}/compare/",
    "comparison": "/judges/comparisons/{comparison}/",
    "playground": "/playground/?run={run}",
    "steer": "/playground/steer/?p=tuned:{run}&p=base:demo-world",
    "calibration": "/calibration/",
    "reviews": "/labels/review/",
    "arenas": "/arena/",
    "arena-new": "/arena/new/",
    "arena-import": "/arena/import/",
    "arena-board": "/arena/{arena}/board/",
    "arena-vote": "/arena/{arena}/vote/",
    "team": "/team/",
    "review": "/review/",
    "review-labels": "/review/labels/label/",
    "review-label": "/review/labels/label/{label}/change/",
    "review-pairs": "/review/labels/pair/",
    "not-found": "/no-such-page/",
}


@pytest.fixture(scope="package")
def numbers(concord: Stack, finished_run: int, hh_rows: Path) -> dict[str, int]:
    """The numbers of the things that the addresses name."""
    visitor = Visitor(concord.url).login()
    label = re.search(r'href="/labels/(\d+)/', visitor.get("/labels/").text)
    principle = re.search(r'href="/principles/(\d+)/"', visitor.get("/principles/").text)
    assert label and principle
    return {"arena": arena(visitor), "judge": saved_judge(visitor),
            "comparison": comparison(visitor, int(principle[1])), "run": finished_run, "failed": failed_run(visitor),
            "label": int(label[1]), "principle": int(principle[1]),
            "dataset": dataset(visitor, hh_rows, "Imported for its page", imported=True),
            "uploaded": dataset(visitor, hh_rows, "Uploaded for its page", imported=False)}


def arena(visitor: Visitor) -> int:
    """Answers of two policies, one of which has a long name."""
    rows = [{"prompt": f"Question {prompt}?", "policy": policy, "answer": f"Answer {prompt}. " * 30}
            for prompt in range(4) for policy in ("short", "a policy with a rather long name " * 5)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    sent = visitor.post("/arena/import/", {"name": "An arena", "choice": "active", "overlap_every": "5",
                                           "overlap_people": "2"}, files={"file": ("answers.jsonl", content)})
    assert sent.status_code == 302, sent.text[:500]
    return int(sent.headers["location"].split("/")[2])


def failed_run(visitor: Visitor) -> int:
    """A run whose judge cannot be reached."""
    run = visitor.start_run("demo", name="A run with a judge that is not there", judge__kind="openai",
                            judge__model="m", judge__base_url="http://127.0.0.1:9/v1", sample__count="40",
                            judge__max_pairs="10", principle=["factuality"])
    wait_for("the run to fail", lambda: visitor.status(run) == "failed", 200)
    return run


def saved_judge(visitor: Visitor) -> int:
    """A judge with a long name, whose server is not there."""
    sent = visitor.post("/judges/new/", {
        "name": "A judge with a name that is rather long " * 2, "kind": "server", "model": "org/a-model-of-ours-70b",
        "base_url": "http://127.0.0.1:9/v1", "key": "sk-for-its-page", "price_in": "0.5", "price_out": "1.5",
        "concurrency": "16", "requests_per_minute": "0", "tokens_per_minute": "0"})
    assert sent.status_code == 302, sent.text[:500]
    visitor.post(f"{sent.headers['location']}test/", {}, page=sent.headers["location"])
    return int(sent.headers["location"].rstrip("/").rsplit("/", 1)[1])


def comparison(visitor: Visitor, principle: int) -> int:
    """Two wordings on a few pairs of the small run, by rule."""
    sent = visitor.post(f"/judges/principles/{principle}/compare/", {
        "statement_a": "more factually correct", "statement_b": "truer", "judge": "rule", "pairs": "10"})
    assert sent.status_code == 302, sent.text[:500]
    address = sent.headers["location"]
    wait_for("the comparison", lambda: "is-done" in visitor.get(address).text, 60)
    return int(address.rstrip("/").rsplit("/", 1)[1])


def dataset(visitor: Visitor, file: Path, name: str, imported: bool) -> int:
    content = file.read_bytes() + b"{broken\n"
    sent = visitor.post("/datasets/new/", {"name": name}, files={"file": (file.name, content)})
    assert sent.status_code == 302, sent.text[:500]
    address = re.search(r"/datasets/(\d+)/", sent.headers["location"])
    assert address
    number = int(address[1])
    if imported:
        columns = f"/datasets/{number}/columns/"
        fields = form_fields(visitor.get(columns).text, columns)
        assert visitor.client.post(columns, data=fields).status_code == 302
        wait_for("the import", lambda: "is-done" in visitor.get(f"/datasets/{number}/").text, 60)
    return number


@pytest.fixture(scope="module")
def tabs(browser: Browser, concord: Stack, session: list[dict[str, str]]) -> Iterator[dict[str, Page]]:
    """One tab for each size."""
    pages = {}
    for size, (width, height) in SIZES.items():
        context = new_context(browser, concord, width, height, reduced_motion="reduce")
        context.add_cookies(session)
        pages[size] = context.new_page()
    yield pages
    for page in pages.values():
        page.context.close()


class Watch:
    """What a tab said and loaded while a page was open."""

    def __init__(self, page: Page, host: str) -> None:
        self.page, self.host = page, host
        self.console: list[str] = []
        self.foreign: list[str] = []
        self._listeners = {"console": self._console, "pageerror": self._error, "request": self._request}

    def __enter__(self) -> Watch:
        for event, listener in self._listeners.items():
            self.page.on(event, listener)
        return self

    def __exit__(self, *_: object) -> None:
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)

    def _console(self, message: Any) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.console.append(f"{message.text} {message.location.get('url', '')}")

    def _error(self, error: Any) -> None:
        self.console.append(str(error))

    def _request(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != self.host:
            self.foreign.append(request.url)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_is_silent_loads_nothing_foreign_and_is_accessible(
        name: str, tabs: dict[str, Page], numbers: dict[str, int], browser: Browser, concord: Stack) -> None:
    address = PAGES[name].format(**numbers)
    problems: list[str] = []
    for size, page in tabs.items():
        if name == "login":
            page = new_context(browser, concord, *SIZES[size]).new_page()
        with Watch(page, urlsplit(concord.url).netloc) as watch:
            page.emulate_media(color_scheme="light")
            answer = page.goto(address)
            settle(page, name)
            # What is too wide shows in one theme, and what lacks contrast at one size.
            for theme in THEMES if size == "desk" or os.environ.get("CONCORD_SCREENSHOTS") else THEMES[:1]:
                use_theme(page, name, theme)
                problems += [f"{size}, {theme}: {problem}" for problem in examine(page, watch, name, theme)]
                if os.environ.get("CONCORD_SCREENSHOTS"):
                    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=SCREENSHOTS / f"{name}-{size}-{theme}.png", full_page=True)
        expected = 404 if name == "not-found" else 200
        if answer is None or answer.status != expected:
            problems.append(f"{size}: answered {answer and answer.status}")
        if name == "login":
            page.context.close()
    assert not problems, "\n".join(dict.fromkeys(problems))


def use_theme(page: Page, name: str, theme: str) -> None:
    """Let the browser prefer a theme; the admin reads that when it loads, all other pages follow at once."""
    page.emulate_media(color_scheme=theme)
    if theme == "dark" and name.startswith("review"):
        page.reload()
        settle(page, name)


def settle(page: Page, name: str) -> None:
    """Wait for what a page draws after it has loaded."""
    if name != "playground":  # its stream never rests
        with suppress(TooLong):
            page.wait_for_load_state("networkidle", timeout=4000)
    if name == "run":
        for chart in page.locator(".chart-group[open] .chart").all():  # a chart is drawn when it is in view
            chart.scroll_into_view_if_needed()
            chart.locator("canvas").wait_for()
    if name == "playground":
        page.frame_locator("#pane").locator("#prompt textarea").wait_for()


def examine(page: Page, watch: Watch, name: str, theme: str) -> list[str]:
    """What is wrong with the page as it is shown now."""
    problems = []
    # The dark theme changes colours and nothing else.
    only = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if theme == "dark" else {}
    options = {"resultTypes": ["violations"], **only}
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if too_wide > 0:
        problems.append(f"{too_wide} pixels too wide")
    console_texts = [text for text in watch.console if name != "not-found" or "404" not in text]
    problems += [f"console: {text[:300]}" for text in console_texts] + [f"loads {url}" for url in watch.foreign]
    frames = [page.main_frame, *(frame for frame in page.frames if "/playground/pane" in frame.url)]
    for frame in frames:
        for violation in Axe().run(frame, options=options).response["violations"]:  # type: ignore[arg-type]
            if violation["impact"] in {"serious", "critical"}:
                nodes = "; ".join(" ".join(map(str, node["target"])) for node in violation["nodes"][:4])
                problems.append(f"axe: {violation['id']} ({violation['impact']}): {nodes}")
    return problems
