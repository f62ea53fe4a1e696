"""Two policies side by side: tokens in both columns, and every principle's reward under both answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from tests.processes import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]
QUESTION = "What is the capital of Avela?"


def pane(page: Page, run: int) -> FrameLocator:
    page.goto(f"/playground/?run={run}")
    frame = page.frame_locator("#pane")
    expect(frame.locator("#prompt textarea")).to_be_visible(timeout=60_000)
    expect(frame.locator("#policy-b input")).not_to_have_value("", timeout=30_000)
    return frame


def test_one_prompt_goes_to_both_policies_and_each_answer_shows_its_rewards(page: Page, finished_run: int) -> None:
    frame = pane(page, finished_run)
    frame.locator("#prompt textarea").fill(QUESTION)
    frame.locator("#send").click()
    for side in "ab":
        column = frame.locator(f"#column-{side}")
        expect(column.locator(".turn.is-user")).to_contain_text(QUESTION, timeout=60_000)
        expect(column.locator(".turn.is-assistant:not(.is-writing)")).to_be_visible(timeout=120_000)
        expect(column.locator(".scores tbody tr")).to_have_count(2, timeout=60_000)
        expect(column.locator(".scores")).to_contain_text("factuality")
        expect(column.locator(".scores")).to_contain_text("conciseness")
        expect(column.locator(".scores tfoot")).to_contain_text("reward")


def test_a_second_turn_follows_the_first_and_stop_is_heard(page: Page, finished_run: int) -> None:
    frame = pane(page, finished_run)
    for turn, text in enumerate((QUESTION, "Who is the keeper of Brisk?"), 1):
        frame.locator("#prompt textarea").fill(text)
        frame.locator("#send").click()
        expect(frame.locator("#column-b .turn.is-user")).to_have_count(turn, timeout=60_000)
        wait_for("both answers", lambda n=turn: all(
            frame.locator(f"#column-{side} .scores").count() == n for side in "ab"), 120)
