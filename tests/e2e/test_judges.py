"""A judge is saved, tested, priced and asked: its labels are paused, go on, and two wordings are compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.judge_server import JudgeServer, judge_server
from tests.processes import wait_for
from tests.stack import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

KEY = "sk-of-the-browser-test"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def save_and_test(page: Page, server: JudgeServer, name: str) -> None:
    page.goto("/judges/new/")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Where it is").select_option("server")
    page.get_by_label("Server’s address").fill(server.base_url)
    page.get_by_label("Model").fill("rule")
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("Price of input").fill("1")
    page.get_by_label("Price of output").fill("2")
    page.get_by_label("Requests per minute").fill("60")  # slow enough to be paused half-way
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("button", name="Test connection").click()
    expect(page.locator("#report")).to_contain_text("works", timeout=30_000)
    expect(page.locator("#report")).to_contain_text("Log-probabilities")


def start_with(page: Page, name: str) -> None:
    """A small run with the saved judge, started from the form, whose estimate is looked at first."""
    page.get_by_role("link", name="New run with it").click()
    expect(page.locator("#preview")).to_contain_text("What the judge will be asked")
    page.locator("[id='id_data.limit']").fill("100")
    page.locator("[id='id_data.held_out']").fill("10")
    page.locator("[id='id_sample.count']").fill("20")
    page.locator("[id='id_judge.max_pairs']").fill("12")
    for box in page.locator("input[name=principle]").all():
        box.set_checked(box.get_attribute("value") == "conciseness")
    page.locator("[id='id_evaluate.prompts']").fill("4")
    page.get_by_label("Name", exact=True).fill(name)
    expect(page.locator("#preview .costs-total")).to_contain_text("$0.0", timeout=20_000)
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*/")


def test_a_judge_is_saved_tested_asked_paused_and_let_go_on(page: Page, server: JudgeServer, visitor: Visitor) -> None:
    save_and_test(page, server, "The tests’ judge")
    assert KEY not in page.content()
    start_with(page, "Paused half-way")
    labelling = page.locator("#labelling")
    wait_for("the first questions of the run", lambda: len(server.questions) > 1, 120)
    page.get_by_role("button", name="Pause labelling").click()
    expect(labelling.locator(".badge.is-stopped").first).to_be_visible()
    page.get_by_label("Requests per minute").fill("0")
    page.get_by_role("button", name="Set the rates").click()
    expect(labelling.locator(".badge.is-stopped").first).to_be_visible()
    page.get_by_role("button", name="Resume labelling").click()
    expect(page.locator(".run-steps .step.is-done", has_text="Labels")).to_be_visible(timeout=60_000)
    page.reload()
    expect(labelling).to_contain_text("12 of 12")
    expect(labelling.locator("tbody tr")).to_contain_text("%")  # how often the two orders disagreed
    page.get_by_role("button", name="Cancel").click()
    assert server.keys == {f"Bearer {KEY}"}

    compare_two_wordings(page)


def compare_two_wordings(page: Page) -> None:
    page.goto("/principles/")
    page.get_by_role("link", name="conciseness").click()
    page.get_by_role("link", name="Compare wordings").click()
    page.get_by_label("New wording").fill("fuller and richer")
    page.get_by_label("Judge", exact=True).select_option(label="The tests’ judge")
    page.get_by_label("Number of pairs").fill("5")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="Pairs that differ")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("flipped when the order changed").first).to_be_visible()
