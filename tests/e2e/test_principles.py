"""A principle is defined, worded anew, and tried on a pair."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def test_a_principle_is_defined_and_a_new_wording_makes_a_new_version(page: Page) -> None:
    page.goto("/principles/new/")
    page.get_by_label("Name", exact=True).fill("politeness")
    page.get_by_label("Which response is").fill("more polite, and never curt")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("politeness")
    expect(page.get_by_role("heading", level=1)).to_contain_text("version 1")

    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Which response is").fill("more polite, and warm without flattery")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("version 2")
    versions = page.locator("section", has=page.get_by_role("heading", name="Versions"))
    expect(versions).to_contain_text("more polite, and never curt")
    expect(versions).to_contain_text("warm without flattery")


def test_a_bad_name_is_refused_at_its_field(page: Page) -> None:
    page.goto("/principles/new/")
    page.get_by_label("Name", exact=True).fill("Not A Name")
    page.get_by_label("Which response is").fill("better")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".field", has=page.get_by_label("Name", exact=True)).locator(".error")).to_be_visible()


def test_a_principle_of_the_library_is_tried_on_a_pair_at_once(page: Page) -> None:
    page.goto("/principles/")
    page.get_by_role("link", name="conciseness").click()
    page.get_by_role("button", name="Ask the judge").click()
    expect(page.locator(".verdict")).to_contain_text("A shown first")
