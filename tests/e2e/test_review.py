"""A person corrects a label in the admin; it is recorded, and the next run learns from it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


def test_a_label_is_overridden_in_the_review_and_taken_back(page: Page, finished_run: int) -> None:
    page.goto("/review/labels/label/")
    page.locator("#result_list tbody tr th a, #result_list tbody tr td a").first.click()
    page.wait_for_url("**/change/**")
    page.get_by_role("button", name=re.compile("^B better")).click()
    expect(page.get_by_text("overridden").first).to_be_visible()
    page.reload()
    expect(page.get_by_text("overridden").first).to_be_visible()
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(page.get_by_text("The last decision is taken back").first).to_be_visible()


def test_an_override_trains_one_preference_model_anew_and_buys_no_label(page: Page, finished_run: int) -> None:
    page.goto(f"/labels/?run={finished_run}&judge=rule")
    label = page.locator("#labels tbody tr").first
    principle = label.locator("td").nth(1).inner_text()
    label.locator("a").first.click()
    page.get_by_role("button", name=re.compile("^(A|B) better")).first.click()
    expect(page.get_by_text("overridden").first).to_be_visible()

    page.goto(f"/runs/new/?clone={finished_run}")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*/")
    expect(page.locator(".run-status .badge")).to_have_text("done", timeout=300_000)
    models = page.locator(".run-steps .step", has_text="Preference models").locator(".stage-box")
    anew = [text for text in models.all_inner_texts() if "from run" not in text]
    assert len(anew) == 1, "one preference model, and no other, was trained anew"
    assert anew[0].split()[1] in principle or any(word in anew[0] for word in principle.split())
    expect(page.locator(".run-steps .step", has_text="Labels")).to_contain_text("reused from run")
