"""A run that another version of Concord stored can be looked at and cloned for ever, and never goes on wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.webapp.runs.seeds import fill, make_run
from training.config import Recipe, read_exactly, read_stored, shipped_recipe
from training.errors import BadSettings
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance

RECIPE: dict[str, Any] = shipped_recipe("demo").model_dump(mode="json")


def stored(**changes: Any) -> dict[str, Any]:
    """The demo's recipe with some settings that are no settings here."""
    value = shipped_recipe("demo").model_dump(mode="json")
    for path, setting in changes.items():
        section, _, name = path.partition("__")
        (value[section] if name else value)[name or section] = setting
    return value


OLD = stored(ppo__clip_ratio_of_old=0.2, ppo__algorithm="trpo", novelty={"weight": 1}, seed="seven")


def test_what_is_not_known_is_left_out_by_name_and_the_rest_is_as_it_was() -> None:
    recipe, unreadable = read_stored(OLD)
    assert set(unreadable) == {"ppo.clip_ratio_of_old", "ppo.algorithm", "novelty", "seed"}
    assert recipe == Recipe.model_validate(RECIPE | {"seed": Recipe.model_fields["seed"].default})
    assert "clip_ratio_of_old" in OLD["ppo"], "what is stored is not touched"


def test_a_setting_that_is_not_known_inside_the_only_principle_costs_that_setting_alone() -> None:
    recipe, unreadable = read_stored({"principles": [{"name": "toxicity", "weight": 2.0, "colour": "red"}]})
    assert unreadable == ["principles.0.colour"]
    assert [(choice.name, choice.weight) for choice in recipe.principles] == [("toxicity", 2.0)]


def test_a_recipe_of_today_is_read_whole() -> None:
    assert read_stored(RECIPE) == (shipped_recipe("demo"), [])
    assert read_exactly(RECIPE) == shipped_recipe("demo")


@pytest.mark.parametrize("value", [{}, {"principles": []}, None, [], "demo", stored(principles=[{"weight": 1}])])
def test_what_is_no_recipe_any_more_is_said(value: Any) -> None:
    with pytest.raises(BadSettings, match="another version"):
        read_stored(value)


@pytest.fixture
def old_run(team: Team, owner: User) -> Run:
    run, stages = make_run(team, owner, name="From last year")
    fill(stages, steps=4)
    Run.objects.filter(pk=run.pk).update(recipe=OLD)
    return Run.objects.get(pk=run.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["", "state/", "samples/", "metrics/", "metrics.csv", "recipe.yaml"])
def test_every_page_of_an_old_run_opens(owner_client: Client, old_run: Run, page: str) -> None:
    assert owner_client.get(f"/runs/{old_run.pk}/{page}").status_code == 200


@pytest.mark.django_db
def test_its_page_names_what_is_not_known_and_it_can_be_cloned(owner_client: Client, old_run: Run) -> None:
    page = owner_client.get(f"/runs/{old_run.pk}/").content.decode()
    assert "another version of Concord" in page and "ppo.clip_ratio_of_old" in page
    form = owner_client.get(f"/runs/new/?clone={old_run.pk}").context["form"]
    assert form.recipe is not None and form.recipe.ppo.steps == shipped_recipe("demo").ppo.steps


@pytest.mark.django_db
def test_it_is_not_resumed_with_other_settings_than_it_was_started_with(owner_client: Client, old_run: Run) -> None:
    Run.objects.filter(pk=old_run.pk).update(status=Run.Status.FAILED)
    Stage.objects.filter(runs=old_run, kind="ppo").update(status=Stage.Status.FAILED)
    page = owner_client.post(f"/runs/{old_run.pk}/resume/", follow=True).content.decode()
    assert "started by another version of Concord, and its settings" in page and "Clone the run" in page
    assert Run.objects.get(pk=old_run.pk).status == Run.Status.FAILED
    with pytest.raises(BadSettings):
        Run.objects.filter(pk=old_run.pk).update(status=Run.Status.RUNNING)
        advance(run=Run.objects.get(pk=old_run.pk))


@pytest.mark.django_db
def test_a_run_whose_settings_are_lost_says_so_on_its_page(owner_client: Client, old_run: Run) -> None:
    Run.objects.filter(pk=old_run.pk).update(recipe={})
    page = owner_client.get(f"/runs/{old_run.pk}/")
    assert page.status_code == 200 and "cannot be read" in page.content.decode()
    assert owner_client.get(f"/runs/new/?clone={old_run.pk}").status_code == 200
    assert owner_client.get("/runs/").status_code == 200
