"""The table of runs in a browser: keys, checked runs and their undo, words that are completed; desk and phone, light
and dark.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from pytest_django.live_server_helper import LiveServer

from tests.e2e.test_comparing_runs import opened
from tests.webapp.runs.seeds import fill, finish, make_run
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunTag, SavedView
from webapp.runs.run_values import store_values

pytestmark = [pytest.mark.e2e, pytest.mark.once]

VIEW = "?q=win%3E10%25+-tag%3Aold+kl.targt%3E1&columns=status,ppo.kl.target,reward/total,win,seeds,tags&sort=-reward"


@pytest.fixture(autouse=True, scope="module")
def _database_beside_the_browser() -> Iterator[None]:
    """Playwright runs an event loop in this thread, in which Django would refuse the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture
def runs(transactional_db: None, team: Team, owner: User) -> list[Run]:
    made = []
    for number in range(4):
        run, stages = make_run(team, owner, name=f"Trial {number}", until="", status=Run.Status.SUCCEEDED)
        fill(stages, 40, seed=number)
        finish(stages)
        made.append(run)
    RunTag.objects.create(run=made[0], name="paper")
    SavedView.objects.create(team=team, name="Good ones", query=VIEW)
    store_values(made)
    return made


@pytest.fixture
def context(browser: Browser, live_server: LiveServer, runs: list[Run], owner: User) -> Iterator[BrowserContext]:
    with_scripts = opened(browser, live_server, owner)
    yield with_scripts
    with_scripts.close()


def test_keys_move_check_archive_and_undo(context: BrowserContext, runs: list[Run]) -> None:
    page = context.new_page()
    page.goto("/runs/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator("tr.is-selected")).to_contain_text("Trial 2")
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.keyboard.press("x")
    expect(page.locator('#compare [value="compare"]')).to_have_text("Compare 2 runs")
    page.keyboard.press("e")
    expect(page.locator(".notice.is-good")).to_contain_text("2 runs are in the archive.")
    expect(page.locator("#run-rows tr")).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#run-rows tr")).to_have_count(4)


def test_slash_goes_to_the_filter_and_words_are_completed(context: BrowserContext, runs: list[Run]) -> None:
    page = context.new_page()
    page.goto("/runs/")
    page.keyboard.press("/")
    page.keyboard.type("trial -tag:p")
    expect(page.locator("#run-words option").first).to_have_attribute("value", "trial -tag:paper")
    page.keyboard.type("aper jx")  # keys are letters while one types
    expect(page.locator("tr.is-selected")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("size", "width", "height"), [("desk", 1440, 900), ("phone", 390, 844)])
def test_it_fits(context: BrowserContext, runs: list[Run], theme: str, size: str, width: int, height: int) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": height})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    for name, address in (("usual", "/runs/"), ("view", f"/runs/{VIEW}"),
                          ("groups", "/runs/?group=scalarization&columns=reward/total,win,kl/mean,duration")):
        page.goto(address)
        if name == "usual":
            page.locator('input[name="run"]').first.check()
        if folder := os.environ.get("CONCORD_SCREENSHOT_FOLDER"):
            page.screenshot(path=Path(folder, f"{name}-{size}-{theme}.png"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert problems == []
