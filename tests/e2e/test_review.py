"""A person corrects a label in the admin; it is recorded, and the next run learns from it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


def test_a_label_is_overridden_in_the_review_and_taken_back(page: Page, finished_run: int) -> None:
    page.goto("/review/")
    page.locator("#result_list tbody tr th a, #result_list tbody tr td a").first.click()
    page.wait_for_url("**/labels/*/")
    decided = page.url
    page.get_by_role("button", name=re.compile("^B better")).click()
    page.wait_for_url(lambda url: url != decided)
    page.get_by_role("link", name=re.compile("^Back to it")).click()
    expect(page.locator(".label-decision .badge")).to_have_text("B better (you)")
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(page.get_by_text("The last decision is taken back").first).to_be_visible()


def test_an_override_trains_one_preference_model_anew_and_buys_no_label(page: Page, finished_run: int) -> None:
    page.goto(f"/labels/?run={finished_run}&judge=rule")
    label = page.locator("#labels tbody tr").first
    principle = label.locator("td").nth(1).inner_text()
    label.locator("a").first.click()
    page.get_by_role("button", name=re.compile("^(A|B) better")).first.click()
    expect(page.get_by_text(re.compile("^Saved: A better"))).to_be_visible()

    page.goto(f"/runs/new/?clone={finished_run}")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*/")
    expect(page.locator(".run-status .badge")).to_have_text("done", timeout=300_000)
    models = page.locator(".run-steps .step", has_text="Preference models").locator(".stage-box")
    anew = [text for text in models.all_inner_texts() if "from run" not in text]
    assert len(anew) == 1, "one preference model, and no other, was trained anew"
    assert anew[0].split()[1] in principle or any(word in anew[0] for word in principle.split())
    expect(page.locator(".run-steps .step", has_text="Labels")).to_contain_text("reused from run")


def test_five_labels_are_decided_by_keyboard_alone(page: Page, finished_run: int) -> None:
    page.goto(f"/labels/?run={finished_run}&review=open")
    page.locator("#labels tbody tr a").first.click()
    page.wait_for_url("**/labels/*/**")
    total = int(page.locator(".place").inner_text().rpartition(" ")[2])
    seen = [page.url]
    for number, key in enumerate("abtya"):
        expect(page.locator(".place")).to_have_text(f"1 of {total - number}")
        page.keyboard.press(key)
        page.wait_for_url(lambda url: url not in seen)
        seen.append(page.url)
    assert len(set(seen)) == 6
    assert all(f"run={finished_run}" in address for address in seen)
    expect(page.locator(".place")).to_have_text(f"1 of {total - 5}")
    for address in seen[:5]:  # leave the labels as they were, for the tests that share this run
        page.goto(address)
        page.keyboard.press("u")
        expect(page.get_by_text("The last decision is taken back")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_both_answers_and_the_buttons_are_in_sight(
        page: Page, finished_run: int, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"/labels/?run={finished_run}")
    page.locator("#labels tbody tr a").first.click()
    page.wait_for_url("**/labels/*/**")
    for part in (page.get_by_role("group", name="Response A"), page.get_by_role("group", name="Response B"),
                 page.get_by_role("button", name=re.compile("^A better")),
                 page.get_by_role("button", name=re.compile("^B better")), page.locator(".place")):
        expect(part).to_be_in_viewport(ratio=0.9)
