"""A run with a measure as its reward and a gauge: its form, its page, its model card; without labels and models too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from tests.webapp.runs.seeds import add_points, make_run
from tests.webapp.runs.test_run_form import NEW, posted
from training.config import Recipe, as_yaml, check_recipe, parse_recipe
from webapp.accounts.models import Team, User
from webapp.runs.downloads.model_card import model_card
from webapp.runs.models import Run

BREVITY = {"name": "brevity", "weight": 1, "measure": {"kind": "words", "toward": "low"}, "serves": "reward"}
SENTENCES = {"name": "sentences", "weight": 4, "measure": {"kind": "sentences"}, "serves": "gauge"}
MEANS = {"n": 40, "toward": "low", "base": {"mean": 9.25, "low": 8.0, "high": 10.5},
         "policy": {"mean": 6.5, "low": 5.5, "high": 7.5}, "difference": {"mean": -2.75, "low": -3.5, "high": -2.0}}
WIN = {"win_rate": 0.75, "low": 0.6, "high": 0.86, "n": 40, "wins": 30, "ties": 0, "losses": 10}


def recipe_of(*principles: dict[str, Any]) -> Recipe:
    return check_recipe({"principles": principles, "name": "Short answers"})


MIXED = recipe_of({"name": "factuality", "weight": 3}, BREVITY, SENTENCES)


def finished(team: Team, owner: User, recipe: Recipe) -> Run:
    run, stages = make_run(team, owner, recipe=recipe, until="none", status=Run.Status.SUCCEEDED)
    add_points(stages["ppo"], "reward/total", [1, 2], [0.1, 0.3])
    add_points(stages["ppo"], "gauge/sentences", [1, 2], [1.5, 1.25])
    stages["evaluate"].summary = {
        "overall": WIN, "principles": {choice.name: WIN for choice in recipe.principles},
        "measures": {"brevity": MEANS, "sentences": MEANS | {"toward": "high"}}}
    stages["evaluate"].save(update_fields=["summary"])
    return run


@pytest.mark.parametrize("recipe", [MIXED, recipe_of(BREVITY, SENTENCES)])
def test_the_page_shows_means_win_rates_and_the_gauges_curve(
    recipe: Recipe, team: Team, owner: User, owner_client: Client
) -> None:
    run = finished(team, owner, recipe)
    answer = owner_client.get(f"/runs/{run.pk}/")
    page = " ".join(answer.content.decode().split())
    assert answer.status_code == 200 and "style=" not in page
    assert '9.25</td>' in page and '6.50</td>' in page and '>−2.75 <span' in page
    assert "lower is better, 40 prompts" in page and "a gauge, not rewarded, 40 prompts" in page
    assert "<td>gauge/sentences</td>" in page, "the number of the gauge without a script"
    rewarded = [choice.name for choice in recipe.rewarded]
    assert answer.context["page"].live["principles"] == rewarded and "sentences" not in rewarded
    shares = {item.principle.name: item.share for item in answer.context["page"].weighted}
    assert shares == ({"factuality": "75%", "brevity": "25%", "sentences": "gauge"} if len(rewarded) == 2
                      else {"brevity": "100%", "sentences": "gauge"})
    series = json.loads(owner_client.get(f"/runs/{run.pk}/metrics/?tags=gauge/sentences").content)["series"]
    assert [row["tag"] for row in series] == ["gauge/sentences"]


def test_the_list_and_the_model_card_name_the_gauge(team: Team, owner: User, owner_client: Client) -> None:
    run = finished(team, owner, MIXED)
    assert owner_client.get("/runs/").status_code == 200
    card = model_card(run)
    assert "| brevity | Which response is lower in words? | +0.250 |" in card
    assert "| sentences | Which response is higher in sentences? | gauge |" in card


def test_the_form_keeps_and_changes_what_a_measure_serves_as(team: Team, owner_client: Client) -> None:
    shown = owner_client.post(f"{NEW}preview/", posted(team, MIXED)).context
    assert shown["form"].recipe == MIXED and parse_recipe(shown["preview"].yaml) == MIXED
    assert shown["preview"].yaml == as_yaml(MIXED)
    assert {row.name: row.share for row in shown["form"].rows if row.chosen} == {
        "factuality": "75%", "brevity": "25%", "sentences": ""}
    page = owner_client.post(NEW, posted(team, MIXED) | {"check": "1"}).content.decode()
    assert '<option value="gauge" selected>' in page
    changed = owner_client.post(f"{NEW}preview/", posted(team, MIXED) | {"serves:brevity": "labels"}).context["form"]
    assert changed.recipe is not None and changed.recipe.principles[1].serves == "labels"


def test_the_form_says_at_the_field_what_does_not_fit(team: Team, owner_client: Client) -> None:
    pooled = owner_client.post(f"{NEW}preview/", posted(team, MIXED) | {"baseline.kind": "pooled_pm"}).context["form"]
    assert "brevity has none (serves: reward)" in str(pooled.errors)
    gauges = posted(team, recipe_of(BREVITY, SENTENCES)) | {"serves:brevity": "gauge"}
    errors = owner_client.post(f"{NEW}preview/", gauges).context["form"].errors
    assert "Every principle is a gauge" in str(errors["principles"])


def test_a_run_of_rewards_alone_has_no_labels_to_count_or_to_pay(team: Team, owner_client: Client) -> None:
    recipe = recipe_of(BREVITY, SENTENCES)
    preview = owner_client.post(f"{NEW}preview/", posted(team, recipe)).context["preview"]
    assert (preview.labels, preview.calls, preview.costs, preview.refusal) == (0, 0, None, "")
    assert [stage.kind for stage in preview.stages] == ["sample", "weights", "ppo", "evaluate"]
