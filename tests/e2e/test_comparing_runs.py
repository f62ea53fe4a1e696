"""Runs are checked in the list, compared, and drawn on one chart; at a desk and on a phone, light and dark.

The runs are rows that the test writes: the pages are served from its own database, without workers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.conftest import logged_in
from tests.processes import ROOT
from tests.webapp.runs.seeds import fill, finish, make_run
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run

pytestmark = [pytest.mark.e2e, pytest.mark.once, pytest.mark.timeout(120)]

SCREENSHOTS = ROOT / "var" / "screenshots"
LOOKS = (("desk", 1440, "light"), ("phone", 390, "dark"), ("desk", 1440, "dark"), ("phone", 390, "light"))
AS_TESTED = 2  # looks: each size and each theme once; all of them with CONCORD_SCREENSHOTS=1


@pytest.fixture(autouse=True, scope="module")
def _database_beside_the_browser() -> Iterator[None]:
    """Playwright runs an event loop in this thread, in which Django would refuse the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


def with_steps(steps: int) -> Recipe:
    values = shipped_recipe("demo").model_dump(mode="json")
    return Recipe.model_validate(values | {"ppo": values["ppo"] | {"steps": steps}})


@pytest.fixture
def runs(transactional_db: None, team: Team, owner: User) -> list[Run]:
    """Two that are done, and one that is still sampling its pairs."""
    made = []
    for number, name in enumerate(("Few steps", "Many steps, a name that is rather long for a column of a table")):
        run, stages = make_run(team, owner, recipe=with_steps(60 + 60 * number), name=name, until="nothing",
                               status=Run.Status.SUCCEEDED)
        fill(stages, 60 + 60 * number, seed=number)
        finish(stages)
        stages["evaluate"].summary["overall"] = {"win_rate": 0.6 + number * 0.2, "low": 0.55 + number * 0.2,
                                                 "high": 0.65 + number * 0.2, "n": 300}
        stages["evaluate"].save(update_fields=["summary"])
        made.append(run)
    return [*made, make_run(team, owner, name="Begun", until="sample")[0]]


def opened(browser: Browser, server: LiveServer, user: User, has_scripts: bool = True) -> BrowserContext:
    """A browser at a desk in which the user is logged in."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900},
                                  reduced_motion="reduce", java_script_enabled=has_scripts)
    session = logged_in(user).cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
    return context


@pytest.fixture
def context(browser: Browser, live_server: LiveServer, runs: list[Run], owner: User) -> Iterator[BrowserContext]:
    with_scripts = opened(browser, live_server, owner)
    yield with_scripts
    with_scripts.close()


def test_runs_are_checked_compared_and_drawn(context: BrowserContext, runs: list[Run]) -> None:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/runs/")
    bar = page.locator("#compare")
    expect(bar).to_be_hidden()
    page.get_by_label(f"Check Few steps #{runs[0].pk}").check()
    expect(bar.get_by_role("button").first).to_be_disabled()
    page.get_by_label("Check Begun").check()
    with page.expect_response("**/runs/rows/**"):  # the rows load themselves again while a run is under way
        pass
    page.get_by_label("Check Many steps").check()
    bar.get_by_role("button", name="Compare 3 runs").click()
    page.wait_for_url("**/runs/compare/?run=*")

    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 3 runs")
    reward = page.locator("#chart-reward")
    reward.scroll_into_view_if_needed()
    expect(reward.locator("canvas")).to_be_visible()
    expect(reward.locator(".readout > span")).to_have_count(2)  # the one that has only begun has no curve
    with page.expect_response("**/runs/compare/metrics/*smooth=0.9*"):
        page.get_by_label("Smoothing").fill("0.9")
    page.get_by_label("Principles").select_option("raw")
    expect(page.locator("#chart-principle-toxicity canvas")).to_be_visible()
    page.get_by_role("link", name="Make Few steps").click()
    expect(page.locator(".compare-runs li").first).to_contain_text("Few steps")
    expect(page.get_by_role("row", name="Overall")).to_contain_text("▲ +20 points")
    assert said == []


def test_without_scripts_the_bar_is_there_and_the_numbers_too(
        browser: Browser, live_server: LiveServer, runs: list[Run], owner: User) -> None:
    context = opened(browser, live_server, owner, has_scripts=False)
    page = context.new_page()
    page.goto("/runs/")
    expect(page.locator("#compare")).to_be_hidden()
    for run in runs[:2]:
        page.get_by_label(f"Check {run.name} #{run.pk}").check()
    page.get_by_role("button", name="Compare the checked runs").click()
    # The newest run comes first in the list, so it is the baseline.
    expect(page.get_by_role("row", name="Overall")).to_contain_text("▼ −20 points")
    context.close()


def test_it_fits_every_screen_and_axe_finds_nothing(context: BrowserContext, runs: list[Run]) -> None:
    page = context.new_page()
    address = "/runs/compare/?" + "&".join(f"run={run.pk}" for run in runs)
    for size, width, theme in LOOKS[:None if os.environ.get("CONCORD_SCREENSHOTS") else AS_TESTED]:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.goto(address)
        page.locator("#chart-reward").scroll_into_view_if_needed()
        expect(page.locator("#chart-reward canvas")).to_be_visible()
        keep(page, f"compare-{size}-{theme}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{size} {theme}"
        assert violations(page) == [], f"{size} {theme}"
    page.goto(f"/runs/compare/?run={runs[0].pk}")
    expect(page.get_by_role("link", name="Choose runs")).to_be_visible()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    """What axe finds wrong with a page."""
    return [f"{violation['id']}: {violation['help']}" for violation in Axe().run(page).response["violations"]]


def keep(page: Page, name: str) -> None:
    if os.environ.get("CONCORD_SCREENSHOTS"):
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
