"""A run is started in the browser, watched while it grows, reloaded in the middle, and ends with a policy."""

from __future__ import annotations

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.judge_server import judge_server
from tests.processes import wait_for
from tests.stack import Visitor
from training.config import as_yaml, shipped_recipe

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


def small_yaml(**sections: dict[str, object]) -> str:
    """The demo preset with some settings changed, as a person would paste it."""
    recipe = yaml.safe_load(as_yaml(shipped_recipe("demo")))
    recipe["data"] |= {"limit": 200, "held_out": 20}
    recipe["principles"] = recipe["principles"][:1] + recipe["principles"][3:]
    recipe["sample"] |= {"count": 40}
    recipe["judge"] |= {"max_pairs": 40}
    recipe["preference_model"] |= {"epochs": 1}
    recipe["ppo"] |= {"batch_size": 16, "epochs": 1, "sample_every": 5, "checkpoint_every": 5}
    recipe["evaluate"] |= {"prompts": 12}
    for name, changes in sections.items():
        recipe[name] = recipe[name] | changes if isinstance(changes, dict) else changes
    return yaml.safe_dump(recipe)


def start(page: Page, recipe: str, name: str, steps: str) -> None:
    """Paste a recipe, let it fill the form, change two fields by hand, start."""
    page.goto("/runs/new/")
    page.get_by_text("Paste YAML", exact=True).click()
    page.get_by_role("textbox", name="Recipe as YAML").fill(recipe)
    page.get_by_role("button", name="Fill in the form from this YAML").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Steps", exact=True).fill(steps)
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*/")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def points(page: Page) -> int:
    """How many points the reward's curve has, read from the table beside its canvas."""
    chart = page.locator("#chart-reward")
    if not chart.count():
        return 0
    chart.scroll_into_view_if_needed()  # a chart is drawn when it is in view
    if not chart.locator("canvas").count():
        return 0
    if not chart.locator("details.twin[open]").count():
        chart.locator("details.twin summary").click()
    return chart.locator("details.twin tbody tr").count()


def status(page: Page) -> str:
    return page.locator(".run-status .badge").inner_text()


def test_a_run_is_started_and_its_curve_grows_through_a_reload(page: Page) -> None:
    start(page, small_yaml(), "Watched in a browser", "150")
    first = wait_for("the first points of the reward", lambda: points(page), 300)
    more = wait_for("the curve to grow without a reload", lambda: (n := points(page)) > first and n, 60)
    page.reload()
    after = wait_for("the curve after the reload", lambda: points(page), 30)
    assert after >= more, "nothing was lost by the reload"
    wait_for("the curve to grow after the reload", lambda: points(page) > after, 60)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".run-status .badge")).to_have_text("cancelled", timeout=60_000)


def test_a_finished_run_shows_how_often_its_policy_is_preferred(page: Page, finished_run: int) -> None:
    page.goto(f"/runs/{finished_run}/")
    expect(page.get_by_role("heading", name="Against its base, by the judge")).to_be_visible()
    expect(page.locator(".result .stat")).to_contain_text("in 12 pairs, 95% interval")
    expect(page.locator("#samples-body .sample")).not_to_have_count(0)


A_MOMENT_EARLIER = """document.addEventListener("readystatechange", () => {
  const data = document.getElementById("run-data");
  if (document.readyState !== "interactive" || !data) return;
  data.textContent = JSON.stringify({ ...JSON.parse(data.textContent), run_state: "stopping" });
  document.querySelector(".run-status .badge").textContent = "stopping";
  window.renderedEarlier = true;
})"""


def test_what_changed_between_the_pages_answer_and_its_socket_is_shown(page: Page, finished_run: int) -> None:
    page.add_init_script(A_MOMENT_EARLIER)  # runs before the page's own script
    page.goto(f"/runs/{finished_run}/")
    assert page.evaluate("window.renderedEarlier")
    expect(page.locator(".run-status .badge")).to_have_text("done", timeout=15_000)


def test_every_step_of_a_finished_run_is_there_once(visitor: Visitor, finished_run: int) -> None:
    reward = visitor.series(finished_run)["reward/total"]
    assert reward["step"] == list(range(1, 13))


def test_a_second_run_with_another_scalarization_starts_at_ppo(page: Page, visitor: Visitor, finished_run: int) -> None:
    page.goto(f"/runs/new/?clone={finished_run}")
    page.locator("[id='id_scalarization.function']").select_option("worst_case")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/runs/*/")
    pipeline = page.locator(".run-steps .step")
    for kind in ("Sampling pairs", "Labels", "Preference models", "Weights"):
        expect(pipeline.filter(has_text=kind)).to_contain_text("from run")
    for kind in ("PPO", "Evaluation"):
        expect(pipeline.filter(has_text=kind)).not_to_contain_text("from run")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".run-status .badge")).to_have_text("cancelled", timeout=60_000)


def test_a_wrong_setting_is_refused_at_its_field_and_in_the_summary(page: Page) -> None:
    page.goto("/runs/new/?preset=demo")
    page.get_by_label("Steps", exact=True).fill("0")
    page.get_by_role("button", name="Start run").click()
    expect(page.locator("#error-summary")).to_contain_text("Steps")
    expect(page.locator("[data-error='id_ppo.steps']")).not_to_be_empty()


def test_a_failed_run_says_what_happened_and_what_to_do_and_goes_on_when_that_is_done(page: Page) -> None:
    with judge_server() as judge:
        judge.refuse_with = 401
        recipe = small_yaml(judge={"kind": "openai", "model": "rule", "base_url": judge.base_url, "max_pairs": 20})
        start(page, recipe, "Refused by its judge", "3")
        expect(page.locator(".run-status .badge")).to_have_text("failed", timeout=200_000)
        failure = page.locator(".failure")
        expect(failure).to_contain_text("What happened")
        expect(failure).to_contain_text("refused the key (HTTP 401")
        expect(failure).to_contain_text("What to do")
        expect(failure).to_contain_text("judge.api_key_env")
        judge.refuse_with = 0
        failure.get_by_role("button", name="Resume").click()
        labels = page.locator(".run-steps .step.is-done", has_text="Labels")
        expect(labels).to_be_visible(timeout=100_000)
        page.get_by_role("button", name="Cancel").click()
