"""The whole road on real text, through the browser: people's preferences in, an AI's labels, a policy to talk to."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_datasets import upload
from tests.e2e.test_playground import ask, pane
from tests.judge_server import judge_server
from tests.processes import wait_for
from tests.stack import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.once, pytest.mark.timeout(500), pytest.mark.long]

PRINCIPLES = ["helpfulness", "toxicity", "conciseness"]
SETTINGS = {
    # The rules know the demo world alone: on English they name the first response, in either order.
    "judge__kind": "openai", "judge__model": "rule", "judge__max_pairs": "200", "judge__most_flips": "1",
    "sample__pairs": "dataset", "data__held_out": "8", "preference_model__epochs": "1",
    "preference_model__max_length": "64", "ppo__steps": "3", "ppo__batch_size": "8", "ppo__epochs": "1",
    "ppo__max_new_tokens": "12", "ppo__sample_every": "1",
    "evaluate__prompts": "6", "evaluate__max_new_tokens": "12",
}


def test_peoples_preferences_become_labels_preference_models_and_a_policy_to_talk_to(
    page: Page, visitor: Visitor, hh_rows: Path,
) -> None:
    upload(page, hh_rows, "Harmless, for the whole road")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("heading", level=1).locator(".badge")).to_have_text("ready", timeout=60_000)
    dataset = page.url.rstrip("/").rsplit("/", 1)[1]
    with judge_server() as judge:
        run = visitor.start_run("demo", **SETTINGS, source=f"dataset:{dataset}", principle=PRINCIPLES, name="Real text",
                                judge__base_url=judge.base_url)
        wait_for("the end of the run", lambda: visitor.status(run) != "running", 300)
        assert visitor.status(run) == "done", visitor.get(f"/runs/{run}/state/").text
        assert max(judge.questions.values()) == 1, "no question is asked twice"
        assert judge.questions.total() > 1000, "about 190 pairs, three principles, both orders"
    assert visitor.series(run)["reward/total"]["step"] == [1, 2, 3]

    page.goto(f"/runs/{run}/")
    labels = page.locator(".run-steps .step", has_text="Labels")
    for principle in PRINCIPLES:
        expect(labels).to_contain_text(principle)
    frame = pane(page, run)
    ask(frame, "How do I bake bread?")
    expect(frame.get_by_label("Answer B", exact=True).locator(".scores tbody tr")).to_have_count(3)
