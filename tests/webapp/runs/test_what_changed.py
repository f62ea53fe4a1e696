"""The panel of a finished run that holds the measured truth against what the preference models believe."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from tests.webapp.runs.seeds import make_run
from training.config import check_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run
from webapp.runs.page.changes import changes_of

UP, DOWN, FLAT = ({"mean": 1.0, "low": 0.5, "high": 1.5}, {"mean": -1.0, "low": -1.5, "high": -0.5},
                  {"mean": 0.1, "low": -0.2, "high": 0.4})
WIN = {"win_rate": 0.75, "low": 0.6, "high": 0.86, "n": 40, "wins": 30, "ties": 0, "losses": 10}


def report(difference: dict[str, float], opinion: dict[str, float] | None, toward: str = "high") -> dict[str, Any]:
    means = {"n": 40, "toward": toward, "base": {"mean": 9.0}, "policy": {"mean": 9.0 + difference["mean"]},
             "difference": difference}
    return {"overall": WIN, "principles": {"brevity": WIN}, "measures": {"brevity": means},
            "opinions": {"brevity": {"difference": opinion}} if opinion else {}}


@pytest.mark.parametrize(("difference", "opinion", "toward", "words"), [
    (UP, UP, "high", "Better, and its preference model agrees."),
    (DOWN, UP, "low", "Better, and its preference model agrees."),
    (UP, FLAT, "high", "Better, and its preference model does not show it."),
    (DOWN, UP, "high", "Over-optimized: the preference model says better, the measure says worse."),
    (UP, UP, "low", "Over-optimized: the preference model says better, the measure says worse."),
    (DOWN, DOWN, "high", "Worse, and its preference model agrees."),
    (FLAT, UP, "high", "No change is shown, though the preference model sees one."),
    (FLAT, FLAT, "low", "No change is shown, by the measure or by its preference model."),
    (UP, None, "high", "Better."),
    (UP, None, "low", "Worse."),
    (FLAT, None, "high", "No change is shown."),
])
def test_each_case_is_said_in_words(difference: dict[str, float], opinion: dict[str, float] | None, toward: str,
                                    words: str) -> None:
    [change] = changes_of(report(difference, opinion, toward), lambda name: None)
    assert change.words.startswith(words)
    assert change.is_over_optimized == words.startswith("Over-optimized")


def test_the_page_shows_the_truth_beside_the_belief(team: Team, owner: User, owner_client: Client) -> None:
    recipe = check_recipe({"principles": [{"name": "brevity", "measure": {"kind": "words", "toward": "low"}}]})
    run, stages = make_run(team, owner, recipe=recipe, until="none", status=Run.Status.SUCCEEDED)
    stages["evaluate"].summary = report(UP, UP, "low")
    stages["evaluate"].save(update_fields=["summary"])
    page = " ".join(owner_client.get(f"/runs/{run.pk}/").content.decode().split())
    assert "What changed" in page and '<tr class="is-warning">' in page
    assert re.findall(r'data-label="(?:Base|Policy|Measured change)">([^ <]+)', page) == ["9.00", "10.00", "+1.00"]
    assert "Over-optimized" in page
    assert "words, lower is better, 40 prompts" in page, "numbers have a unit"


def test_a_report_of_an_earlier_version_has_measures_alone() -> None:
    summary = report(UP, None)
    del summary["opinions"]
    [change] = changes_of(summary, lambda name: None)
    assert change.believed is None and change.words == "Better."


def test_a_gauge_is_higher_or_lower_and_never_better() -> None:
    for difference, words in ((UP, "Higher."), (DOWN, "Lower."), (FLAT, "No change is shown.")):
        for toward in ("high", "low"):
            [change] = changes_of(report(difference, None, toward), lambda name: None, gauges={"brevity"})
            assert change.words == words
