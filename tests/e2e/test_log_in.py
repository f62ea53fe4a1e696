"""Who gets in, and who does not."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import log_in
from tests.stack import DEMO_USER

pytestmark = [pytest.mark.e2e, pytest.mark.once]


def test_the_demo_user_logs_in_and_sees_the_runs(anonymous_page: Page) -> None:
    log_in(anonymous_page)
    expect(anonymous_page.get_by_role("heading", name="Runs", level=1)).to_be_visible()


def test_a_page_asks_for_the_login_first_and_comes_back_to_itself(anonymous_page: Page) -> None:
    anonymous_page.goto("/principles/")
    expect(anonymous_page.get_by_role("heading", name="Log in")).to_be_visible()
    anonymous_page.get_by_label("Name").fill(DEMO_USER)
    anonymous_page.get_by_label("Password").fill("concord-demo")
    anonymous_page.get_by_role("button", name="Log in").click()
    anonymous_page.wait_for_url("**/principles/")


def test_a_wrong_password_is_refused_with_a_reason(anonymous_page: Page) -> None:
    anonymous_page.goto("/login/")
    anonymous_page.get_by_label("Name").fill("nobody")
    anonymous_page.get_by_label("Password").fill("wrong-password")
    anonymous_page.get_by_role("button", name="Log in").click()
    expect(anonymous_page.get_by_role("alert")).to_be_visible()


def test_who_logs_out_is_out(anonymous_page: Page) -> None:
    log_in(anonymous_page)
    anonymous_page.get_by_role("button", name="Log out").first.click()
    anonymous_page.goto("/runs/")
    expect(anonymous_page.get_by_role("heading", name="Log in")).to_be_visible()
