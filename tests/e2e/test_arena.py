"""Votes in an arena by keys: at a human pace, with the connection lost, on a phone."""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.stack import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def arena(concord: object) -> str:
    """The address of an arena with three policies on 30 prompts."""
    visitor = Visitor(concord.url).login()  # type: ignore[attr-defined]
    rows = [{"prompt": f"Question {prompt}: why is the sky blue?", "policy": f"policy {policy}", "reward": policy,
             "answer": f"The answer of number {policy} to question {prompt}. " * (4 * policy)}
            for prompt in range(30) for policy in range(3)]
    sent = visitor.post("/arena/import/", {"name": "Imported answers", "choice": "active", "overlap_every": "5",
                                           "overlap_people": "2"},
                        files={"file": ("answers.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())})
    assert sent.status_code == 302, sent.text[:500]
    return str(sent.headers["location"]).removesuffix("board/")


def saved(page: Page) -> int:
    """The votes that the server has counted, as the page says."""
    return int(page.locator("#summary .number").inner_text())


def current(page: Page) -> str:
    return page.locator(".arena-pair:not([hidden])").get_attribute("data-ballot") or ""


def test_twenty_pairs_are_voted_on_by_keys_in_less_than_a_minute(page: Page, arena: str) -> None:
    page.goto(f"{arena}vote/")
    began, seen = time.monotonic(), [current(page)]
    for number in range(20):
        page.wait_for_timeout(1500)  # as fast as somebody reads who reads fast
        page.keyboard.press("1234"[number % 4])
        seen.append(current(page))  # at once: the next pair was there already
    assert time.monotonic() - began < 60
    assert len(set(seen)) == 21, "every vote brought another pair at once"
    expect(page.locator("#summary")).to_contain_text(re.compile(r"^20 votes by you"))
    page.goto(f"{arena}board/")
    expect(page.locator("main")).to_contain_text("20 votes")


def test_undo_and_skip_by_key(page: Page, arena: str) -> None:
    page.goto(f"{arena}vote/")
    before, first = saved(page), current(page)
    page.keyboard.press("1")
    expect(page.locator("#summary .number")).to_have_text(str(before + 1))
    page.keyboard.press("u")
    expect(page.locator("#summary .number")).to_have_text(str(before))
    expect(page.locator(".arena-pair:not([hidden])")).to_have_attribute("data-ballot", first)
    page.keyboard.press("s")
    page.keyboard.press("s")
    expect(page.locator(f'[data-ballot="{first}"]')).to_have_count(0)
    page.wait_for_load_state("networkidle")
    page.reload()
    assert saved(page) == before and current(page) != first, "a skipped pair is no vote, and does not come back"


def test_a_vote_without_a_connection_is_named_and_saved_later(page: Page, arena: str) -> None:
    page.goto(f"{arena}vote/")
    before = saved(page)
    page.context.set_offline(True)
    seen = [current(page)]
    page.keyboard.press("2")
    seen.append(current(page))
    page.keyboard.press("1")
    expect(page.locator("#unsaved")).to_contain_text(re.compile("Not saved yet: “Question .*” \\(B better\\)"))
    page.context.set_offline(False)
    expect(page.locator("#unsaved")).to_be_hidden()
    expect(page.locator("#summary .number")).to_have_text(str(before + 2))
    shown = page.locator(".arena-pair").evaluate_all("pairs => pairs.map((pair) => pair.dataset.ballot)")
    assert not set(seen) & set(shown), "what was voted on while the connection was lost does not come back"


def test_both_answers_and_the_buttons_are_in_sight_on_a_phone(page: Page, arena: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{arena}vote/")
    for part in (page.get_by_role("group", name="Answer A"), page.get_by_role("group", name="Answer B"),
                 page.get_by_role("button", name="Both bad")):
        expect(part).to_be_in_viewport(ratio=0.9)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_last_pair_says_that_there_is_no_other(page: Page, concord: object) -> None:
    visitor = Visitor(concord.url).login()  # type: ignore[attr-defined]
    rows = "".join(json.dumps({"prompt": "Why?", "policy": policy, "answer": policy}) + "\n" for policy in "ab")
    sent = visitor.post("/arena/import/", {"name": "One pair", "choice": "random", "overlap_every": "0",
                                           "overlap_people": "2"}, files={"file": ("a.jsonl", rows.encode())})
    page.goto(sent.headers["location"].replace("board", "vote"))
    page.keyboard.press("3")
    expect(page.get_by_text("You have seen every pair of this arena.")).to_be_visible()
    expect(page.locator("#ballot")).to_be_hidden()
