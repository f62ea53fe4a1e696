"""Two policies side by side: rewards under both answers, and a conversation that is never lost by accident."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.e2e.conftest import new_context
from tests.e2e.test_every_page import SIZES, THEMES, Watch, examine
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.once, pytest.mark.timeout(500)]
QUESTION = "What is the capital of Avela?"


def pane(page: Page, run: int) -> FrameLocator:
    page.goto(f"/playground/?run={run}")
    return ready(page)


def ready(page: Page) -> FrameLocator:
    frame = page.frame_locator("#pane")
    expect(frame.locator("#prompt textarea")).to_be_visible(timeout=60_000)
    expect(frame.locator("#policy-b input")).not_to_have_value("", timeout=30_000)
    return frame


def ask(frame: FrameLocator, text: str) -> None:
    """Send a prompt and wait until both answers have their rewards."""
    turns = frame.locator(".exchange").count()
    frame.locator("#prompt textarea").fill(text)
    frame.locator("#send").click()
    expect(frame.locator(".exchange")).to_have_count(turns + 1, timeout=60_000)
    expect(frame.locator("#now .scores")).to_have_count(2, timeout=120_000)
    expect(frame.locator("#send")).to_be_visible(timeout=60_000)


def test_one_prompt_goes_to_both_policies_and_each_answer_shows_its_rewards(page: Page, finished_run: int) -> None:
    frame = pane(page, finished_run)
    frame.locator("#send").click()
    expect(frame.locator("#status .is-error")).to_have_count(0)
    ask(frame, QUESTION)
    expect(frame.locator(".turn.is-user")).to_have_count(1)
    expect(frame.locator(".turn.is-user")).to_contain_text(QUESTION)
    for side in "AB":
        answer = frame.get_by_label(f"Answer {side}", exact=True)
        expect(answer.locator(".scores tbody tr")).to_have_count(2)
        expect(answer.locator(".scores")).to_contain_text("factuality")
        expect(answer.locator(".scores")).to_contain_text("conciseness")
        expect(answer.locator(".scores tfoot")).to_contain_text("reward")


def test_opening_the_list_of_policies_and_reloading_lose_nothing(page: Page, finished_run: int) -> None:
    frame = pane(page, finished_run)
    ask(frame, QUESTION)
    expect(page).to_have_url(re.compile(r"/playground/\?chat=\d+$"))
    address = page.url
    frame.locator("#policy-a input").click()
    expect(frame.get_by_role("option").first).to_be_visible()
    frame.locator("#prompt textarea").click()
    page.wait_for_timeout(1500)  # the time in which the conversation used to go
    expect(frame.locator(".exchange")).to_have_count(1)
    ask(frame, "Who is the keeper of Brisk?")
    said = frame.locator("#turns").inner_text()

    page.reload()
    frame = ready(page)
    expect(frame.locator(".exchange")).to_have_count(2, timeout=30_000)
    assert frame.locator("#turns").inner_text() == said
    assert page.url == address

    frame.locator("#policy-a input").click()
    frame.get_by_role("option", name=re.compile("A small run")).first.click()
    expect(frame.locator(".exchange")).to_have_count(0)
    expect(page).to_have_url(re.compile(r"/playground/$"))
    page.locator(".history-rows a").filter(has_text=QUESTION).first.click()
    frame = ready(page)
    expect(frame.locator(".exchange")).to_have_count(2, timeout=30_000)


def test_another_try_keeps_both_attempts_and_the_prompt_stays_in_sight(page: Page, finished_run: int) -> None:
    frame = pane(page, finished_run)
    for number in range(3):
        ask(frame, f"{QUESTION} {number}")
    frame.locator("#again").click()
    expect(frame.locator("#now .who").first).to_contain_text("attempt 2 of 2", timeout=60_000)
    expect(frame.locator("#earlier")).to_be_enabled(timeout=60_000)
    frame.locator("#earlier").click()
    expect(frame.locator("#now .who").first).to_contain_text("attempt 1 of 2")
    expect(frame.locator("#send")).to_be_in_viewport()
    expect(frame.locator("#now .turn.is-user")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "the page itself does not grow"


def test_the_pane_has_the_sites_theme_when_the_systems_is_another_also_after_a_reload(
        browser: Browser, concord: Stack, session: list[dict[str, str]]) -> None:
    context = new_context(browser, concord, color_scheme="dark")
    context.add_cookies([*session, {"name": "theme", "value": "light", "url": concord.url}])
    page = context.new_page()
    page.goto("/playground/")
    for _ in range(2):
        ready(page)
        inside = page.frame_locator("#pane").locator("body")
        outside = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        expect(inside).to_have_css("color-scheme", "light")
        assert inside.locator("gradio-app").evaluate("app => getComputedStyle(app).backgroundColor") == outside
        page.reload()
    context.close()


def test_a_conversation_is_accessible_at_a_desk_and_on_a_phone_in_both_themes(
        browser: Browser, concord: Stack, session: list[dict[str, str]], page: Page, finished_run: int) -> None:
    ask(pane(page, finished_run), f"**{QUESTION}**")
    problems: list[str] = []
    for size, (width, height) in SIZES.items():
        context = new_context(browser, concord, width, height, reduced_motion="reduce")
        context.add_cookies(session)
        tab = context.new_page()
        with Watch(tab, urlsplit(concord.url).netloc) as watch:
            tab.goto(page.url)
            frame = ready(tab)
            expect(frame.locator("#now .scores")).to_have_count(2)
            tab.locator("#history").evaluate("history => history.open = true")
            tab.locator(".history-tools summary").first.click()
            for theme in THEMES:
                tab.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                problems += [f"{size}, {theme}: {problem}" for problem in examine(tab, watch, "playground", theme)]
        context.close()
    assert not problems, "\n".join(problems)


def test_a_slider_moves_the_answer_positions_are_pinned_and_a_mix_is_saved(page: Page, finished_run: int) -> None:
    page.goto(f"/playground/steer/?p=tuned:{finished_run}&p=base:demo-world")
    page.get_by_placeholder("Ask the mix").fill(QUESTION)
    page.get_by_role("button", name="Answer", exact=True).click()
    now = page.get_by_label("Answer where the sliders stand")
    expect(now.locator(".scores tfoot")).to_contain_text("reward", timeout=120_000)
    page.get_by_role("button", name="Pin this position").click()
    expect(page.get_by_label("Answer of pin 1").locator(".scores")).to_be_visible(timeout=60_000)
    page.get_by_role("slider").first.fill("100")
    expect(page.locator(".steer-sliders output")).to_have_text(["100%", "0%"])
    expect(now.locator(".steer-shares")).to_contain_text("100%", timeout=60_000)
    expect(page.get_by_label("Answer of pin 1").locator(".steer-shares")).to_contain_text("50%")
    page.get_by_placeholder("Name of the mix").fill("All of it")
    page.get_by_role("button", name="Save the mix").click()
    expect(page).to_have_url(re.compile(r"/playground/\?policy=mix%3A\d+$"))
    frame = ready(page)
    expect(frame.locator("#policy-b input")).to_have_value(re.compile(r"All of it \(mix \d+\)"))
