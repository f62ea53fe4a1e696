"""A run is made with a saved judge: the recipe says where it is and names its key, which only its stage is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.judges.conftest import KEY
from training.config import Recipe, shipped_recipe
from training.errors import BadSettings
from webapp.accounts.models import Team
from webapp.judges.models import Connection
from webapp.judges.selectors import saved_judge
from webapp.runs.form.recipe_form import RecipeForm
from webapp.runs.models import Run, Stage
from webapp.runs.services import run_create
from workers import processes
from workers.preparing import prepare

NEW = "/runs/new/"


def fields_of(form: RecipeForm) -> dict[str, Any]:
    """What a browser sends for a form as it stands."""
    data: dict[str, Any] = {path: entry.text for path, entry in form.entries.items()
                            if entry.spec.kind != "bool" or entry.is_checked}
    data |= {"name": form.name, "source": form.source, "data.source": form.hub_id,
             "saved_judge": str(form.saved_judge.pk) if form.saved_judge else "",
             "row": [row.name for row in form.rows], "principle": [row.name for row in form.rows if row.chosen]}
    for row in form.rows:
        data |= {f"weight:{row.name}": row.weight, f"statement:{row.name}": row.statement}
    return data


def with_judge(judge: Connection) -> Recipe:
    recipe = shipped_recipe("demo")
    chosen = recipe.judge.model_copy(update=judge.recipe_fields())
    return recipe.model_copy(update={"judge": chosen})


def test_a_chosen_judge_fills_the_recipe(judge: Connection, team: Team, owner_client: Client) -> None:
    fields = fields_of(RecipeForm.from_recipe(team, shipped_recipe("demo"))) | {"saved_judge": str(judge.pk)}

    owner_client.post(NEW, fields)

    asked = Recipe.model_validate(Run.objects.of(team).get().recipe).judge
    assert (asked.kind, asked.model, asked.base_url) == ("openai", "judge-7b", "http://127.0.0.1:9/v1")
    assert asked.api_key_env == judge.key_variable


def test_the_form_opens_with_the_judge_that_the_address_names(judge: Connection, owner_client: Client) -> None:
    form = owner_client.get(NEW, {"judge": judge.pk}).context["form"]

    assert form.saved_judge == judge
    assert form.recipe.judge.model == "judge-7b"


def test_a_clone_keeps_its_saved_judge_and_changes_nothing(judge: Connection, team: Team) -> None:
    form = RecipeForm.from_recipe(team, with_judge(judge))

    assert form.saved_judge == judge
    assert form.is_valid()
    assert form.recipe == with_judge(judge)


def test_a_saved_judge_that_thinks_makes_the_recipe_let_it(judge: Connection, team: Team) -> None:
    judge.reasoning, judge.logprobs = True, "no"
    judge.save()
    form = RecipeForm.from_recipe(team, shipped_recipe("demo"))
    form.use_judge(judge)

    assert form.is_valid() and form.recipe
    assert (form.recipe.judge.reasoning, form.recipe.judge.logprobs) == (True, "no")


def test_a_clone_whose_recipe_lets_its_judge_think_still_does(judge: Connection, team: Team) -> None:
    before = with_judge(judge)
    before = before.model_copy(update={"judge": before.judge.model_copy(update={"reasoning": True})})

    form = RecipeForm.from_recipe(team, before)

    assert form.is_valid() and form.saved_judge == judge and form.recipe == before


def test_a_recipe_of_a_judge_that_has_moved_is_not_taken_for_it(judge: Connection, team: Team) -> None:
    before = with_judge(judge)
    judge.model = "judge-70b"
    judge.save()

    assert RecipeForm.from_recipe(team, before).saved_judge is None


def test_another_teams_judge_cannot_be_chosen(judge: Connection, other_team: Team) -> None:
    form = RecipeForm.from_recipe(other_team, with_judge(judge))

    assert form.saved_judge is None
    assert not form.is_valid()
    assert "does not exist" in " ".join(form.errors["judge.api_key_env"])


def test_another_teams_judge_in_the_address_or_in_the_form_is_none(
        judge: Connection, team: Team, other_team: Team, stranger_client: Client) -> None:
    assert saved_judge(team, str(judge.pk)) == judge
    assert saved_judge(other_team, str(judge.pk)) is None

    assert judge.base_url not in stranger_client.get(f"{NEW}?judge={judge.pk}").content.decode()


def test_a_typed_address_does_not_get_a_saved_key(judge: Connection, team: Team) -> None:
    form = RecipeForm.from_recipe(team, with_judge(judge))
    form.use_judge(None)
    form.entries["judge.base_url"].text = "https://evil.example/v1"

    assert not form.is_valid()
    assert "another address" in " ".join(form.errors["judge.api_key_env"])


@pytest.fixture
def labelling(judge: Connection, team: Team, sent: list[Any]) -> Stage:
    """The first label stage of a run with the saved judge; its pairs are there."""
    recipe = with_judge(judge)
    run = run_create(team=team, user=team.members.get(), recipe=recipe, dataset=None)
    stage = run.stages.filter(kind="label").order_by("pk").first()
    assert stage is not None
    return stage


def test_the_stage_is_told_the_key_through_its_environment_alone(labelling: Stage, judge: Connection) -> None:
    ready = prepare(labelling)

    assert ready is not None
    environment = processes.environment(ready.key_variable, ready.saved_key)
    assert environment[judge.key_variable] == KEY
    assert KEY not in repr(ready)
    for file in labelling.folder.rglob("*"):
        assert not file.is_file() or KEY not in file.read_text(), "no file of the stage holds the key"


def test_a_run_whose_judge_was_deleted_says_so(labelling: Stage, judge: Connection) -> None:
    judge.delete()

    with pytest.raises(BadSettings, match="does not exist"):
        prepare(labelling)


def test_the_exported_recipe_holds_no_key(labelling: Stage, judge: Connection, owner_client: Client) -> None:
    run = Run.objects.get()
    text = owner_client.get(reverse("runs:yaml", args=[run.pk])).content.decode()

    assert judge.key_variable in text
    assert KEY not in text
