"""Rated responses in, a principle that a program measures, a run on it, and what it changed, as a new user meets them.

Every page on the way is looked at as in test_every_page.py, at a desk and on a phone.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.test_datasets import upload
from tests.e2e.test_every_page import SCREENSHOTS, SIZES, THEMES, Watch, examine
from tests.processes import wait_for
from tests.stack import Stack, Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once, pytest.mark.timeout(300)]

RECIPE = """\
name: Short answers
data: {source: demo-world, limit: 160, held_out: 16}
principles:
  - name: brevity
    measure: {kind: words, toward: low}
  - name: easy_words
    measure: {kind: reading_ease}
    serves: gauge
judge: {kind: rule, max_pairs: 64}
policy: {base: demo-world}
preference_model: {base: demo-world, epochs: 1, batch_size: 32, learning_rate: 0.005, max_length: 96}
sample: {count: 64, max_new_tokens: 16}
ppo: {steps: 4, batch_size: 16, epochs: 1, micro_batch: 16, max_new_tokens: 16, sample_every: 2}
evaluate: {prompts: 12, max_new_tokens: 16}
device: cpu
precision: fp32
"""
SHORT, LONG = "Orvane.", "Orvane, I would say, which is a lake that is about forty meters deep."


def helpsteer(prompts: int) -> str:
    """Two rated responses to each prompt, in HelpSteer's layout: the more helpful one is the more verbose one."""
    return "".join(json.dumps({
        "prompt": f"Which lake lies north of town {number}?", "response": response, "helpfulness": helpful,
        "correctness": helpful, "coherence": 4, "complexity": 1, "verbosity": verbosity}) + "\n"
        for number in range(prompts) for response, helpful, verbosity in ((LONG, 4, 3), (SHORT, 2, 0)))


class Looker:
    """Looks at a page at both sizes and in both themes, and keeps what is wrong with it."""

    def __init__(self, page: Page, host: str) -> None:
        self.page, self.host = page, host
        self.problems: list[str] = []

    def look(self, name: str) -> None:
        with Watch(self.page, self.host) as watch:
            for size, (width, height) in reversed(SIZES.items()):
                self.page.set_viewport_size({"width": width, "height": height})
                for theme in THEMES if size == "desk" or os.environ.get("CONCORD_SCREENSHOTS") else THEMES[:1]:
                    self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                    self.page.evaluate("scrollTo(0, 0)")
                    self.problems += [f"{name}, {size}, {theme}: {problem}"
                                      for problem in examine(self.page, watch, name, theme)]
                    if os.environ.get("CONCORD_SCREENSHOTS"):
                        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
                        self.page.screenshot(path=SCREENSHOTS / f"road-{name}-{size}-{theme}.png", full_page=True)
            self.page.emulate_media(color_scheme="light")
            self.page.set_viewport_size({"width": SIZES["desk"][0], "height": SIZES["desk"][1]})


@pytest.fixture
def looker(page: Page, concord: Stack) -> Looker:
    return Looker(page, urlsplit(concord.url).netloc)


def test_rated_responses_a_measured_principle_and_what_a_run_changed(
        page: Page, looker: Looker, visitor: Visitor, tmp_path: Path) -> None:
    file = tmp_path / "helpsteer.jsonl"
    file.write_text(helpsteer(prompts=12), encoding="utf-8")
    import_ratings(page, looker, file)
    say_what_they_are_about(page, looker)
    define_and_try(page, looker)
    run = start(page, looker)
    wait_for("the end of the run", lambda: visitor.status(run) != "running", 120)
    assert visitor.status(run) == "done", visitor.get(f"/runs/{run}/state/").text
    page.reload()
    changes = page.get_by_role("group", name="What changed")
    brevity, easy_words = row_of(changes, "brevity"), row_of(changes, "easy_words")
    expect(brevity).to_contain_text("words, lower is better, 12 prompts")
    expect(brevity).to_contain_text(re.compile(r"Better|Worse|No change is shown|Over-optimized"))
    expect(easy_words).to_contain_text("reading ease, a gauge, not rewarded")
    expect(easy_words).to_contain_text(re.compile(r"Higher\.|Lower\.|No change is shown\."))
    looker.look("run")
    assert not looker.problems, "\n".join(looker.problems)


def import_ratings(page: Page, looker: Looker, file: Path) -> None:
    upload(page, file, "Lakes, rated")
    expect(page.get_by_role("status").filter(has_text="Read as")).to_contain_text("HelpSteer")
    expect(page.get_by_label("Chosen response")).to_be_hidden()
    looker.look("columns")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)
    looker.look("rows")


def say_what_they_are_about(page: Page, looker: Looker) -> None:
    page.get_by_role("link", name=re.compile("Ratings")).click()
    verbosity = row_of(page, "verbosity")
    expect(verbosity).to_contain_text("12")
    verbosity.get_by_role("combobox").select_option(label="conciseness")
    verbosity.get_by_role("checkbox").check()
    looker.look("ratings")
    page.get_by_role("button", name="Save the uses").click()
    expect(page.get_by_text("Saved")).to_be_visible()
    expect(verbosity.get_by_role("combobox").locator("option:checked")).to_have_text("conciseness")
    expect(verbosity.get_by_role("checkbox")).to_be_checked()
    looker.look("ratings-saved")


def define_and_try(page: Page, looker: Looker) -> None:
    page.goto("/principles/new/")
    page.get_by_label("Name", exact=True).fill("brevity")
    page.get_by_label("Measured by a program").check()
    page.get_by_label("What it measures").select_option("words")
    page.get_by_label("the lower measure").check()
    page.get_by_label("Response A").fill(SHORT)
    page.get_by_label("Response B").fill(LONG)
    page.get_by_role("button", name="Measure both").click()
    expect(page.locator(".verdict")).to_contain_text("A is preferred")
    looker.look("measured-form")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("brevity")
    page.get_by_role("button", name="Measure both").click()
    expect(page.locator(".verdict")).to_be_visible()
    page.get_by_label("Dataset", exact=True).select_option(label="Lakes, rated")
    page.get_by_role("button", name="Measure its responses").click()
    measured = page.get_by_role("region", name="Over a dataset")
    expect(measured).to_contain_text("24responses measured")  # two to each of twelve prompts
    expect(measured).to_contain_text("0%of 12 decided pairs as people chose")  # the longer was the more helpful
    looker.look("measured-principle")


def start(page: Page, looker: Looker) -> int:
    """Start the run of RECIPE; its number."""
    page.goto("/runs/new/")
    page.get_by_text("Paste YAML").click()
    page.get_by_role("textbox", name="Recipe as YAML").fill(RECIPE)
    page.get_by_role("button", name="Fill in the form from this YAML").click()
    expect(page.get_by_label("What the measure of brevity serves as")).to_have_value("labels")
    expect(page.get_by_label("What the measure of easy_words serves as")).to_have_value("gauge")
    expect(page.get_by_label("Weight of brevity", exact=True)).to_be_visible()
    expect(page.get_by_label("Weight of easy_words", exact=True)).to_be_hidden()
    looker.look("run-form")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"/runs/\d+/$"))
    return int(page.url.rstrip("/").rsplit("/", 1)[1])


def row_of(part: Page | Locator, name: str) -> Locator:
    """The row of a table that begins with this name."""
    return part.locator("tbody tr", has=part.page.get_by_role("rowheader", name=name) if isinstance(part, Locator)
                        else part.get_by_role("rowheader", name=name))
