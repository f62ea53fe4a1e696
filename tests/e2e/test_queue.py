"""Three runs and one worker, in a browser: the list and the run's page follow by themselves, and people change the
order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import SMALL
from tests.stack import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
LIST = "/runs/?q=In+line"
SOON = 60_000  # milliseconds


@pytest.fixture
def in_line(visitor: Visitor) -> Iterator[list[int]]:
    """Three runs that share nothing, too long to end within the test; on principles that no other test looks at."""
    settings = SMALL | {"ppo__steps": "2000", "principle": ["toxicity", "sycophancy"]}
    runs = [visitor.start_run("demo", **settings, name=f"In line {number}", seed=str(90 + number))
            for number in range(3)]
    yield runs
    for run in runs:
        if visitor.status(run) == "running":
            visitor.post(f"/runs/{run}/cancel/", {}, page=f"/runs/{run}/")


def badges(page: Page, *states: str) -> None:
    """The list comes to say this, newest run first, without a reload."""
    expect(page.locator("#run-rows .badge")).to_have_text(list(states), timeout=SOON)


def test_the_list_follows_and_a_run_that_is_moved_up_is_the_next(page: Page, in_line: list[int]) -> None:
    first, _, third = in_line
    page.goto(LIST)
    page.evaluate("window.opened = true")
    # Between two stages that load models a judge is asked, and the worker takes what is next: so a run is waited for
    # in its training, which lasts.
    expect(page.locator("#run-rows tr").nth(2)).to_contain_text("PPO, step", timeout=3 * SOON)
    badges(page, "queued, 2nd", "queued, next", "running")

    page.locator(f"#up-{third}").focus()
    page.wait_for_timeout(4000)
    assert page.evaluate("document.activeElement.id") == f"up-{third}", "new rows leave the keyboard where it is"
    assert page.evaluate("window.opened"), "the page was not loaded again"
    page.keyboard.press("Enter")
    badges(page, "queued, next", "queued, 2nd", "running")

    page.locator(f"#pause-{third}").click()
    badges(page, "paused", "queued, next", "running")
    ring = page.locator("#running-now")
    expect(ring).to_contain_text("In line 0")
    expect(ring).to_contain_text("+2 (1 queued, 1 paused)")
    ring.get_by_role("link", name="In line 0").click()
    page.wait_for_url(f"**/runs/{first}/")


def test_a_run_that_is_cancelled_elsewhere_stops_pulsing_and_is_not_live(
        page: Page, visitor: Visitor, in_line: list[int]) -> None:
    run = in_line[0]
    page.goto(f"/runs/{run}/")
    expect(page.locator("#sentence")).to_contain_text("PPO, step", timeout=3 * SOON)
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("#eta")).to_contain_text("left", timeout=SOON)

    visitor.post(f"/runs/{run}/cancel/", {}, page=f"/runs/{run}/")

    expect(page.locator(".run-status .badge")).to_have_text("cancelled", timeout=SOON)
    expect(page.locator(".run-steps .is-running")).to_have_count(0)
    expect(page.locator("#live")).to_be_hidden()
