"""A run whose preference models learn from the ratings of its dataset, as its team says what they are about."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl
from tests.webapp.labels.test_ratings_of_a_dataset import key, rated_rows, say
from tests.webapp.runs.test_run_form import posted
from training.config import Recipe, check_recipe
from training.data.ratings import probabilities_of
from training.errors import BadData
from training.run.artifacts import read_jsonl
from training.run.jobs import read_job
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.runs.services import preview, run_create
from workers.preparing import prepare


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, jsonl(*rated_rows(10)))


JUDGE = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


def recipe_on(dataset: Dataset, labels_from: str, *names: str, **ratings: str) -> Recipe:
    return check_recipe({
        "principles": [{"name": name} for name in names], "sample": {"pairs": "dataset"}, "judge": JUDGE,
        "data": {"source": f"datasets/{dataset.pk}-data.jsonl", "held_out": 2, "ratings": ratings},
        "preference_model": {"labels_from": labels_from}})


def test_a_run_with_people_buys_no_labels_and_has_the_ratings_in_its_files(
        owner_client: Client, team: Team, owner: User, dataset: Dataset) -> None:
    recipe = recipe_on(dataset, "people", "factuality", "conciseness", factuality="correctness",
                       conciseness="-verbosity")
    run = run_create(team=team, user=owner, recipe=recipe, dataset=dataset)
    assert not run.stages.filter(kind="label").exists()
    assert owner_client.get(reverse("runs:detail", args=[run.pk])).status_code == 200
    first = run.stages.get(name="preference_model:factuality")
    prepared = prepare(first)
    assert prepared is not None and prepared.key_variable == ""
    job = read_job(first.folder)
    rated = probabilities_of(read_jsonl(job.files["ratings"]), "correctness")
    pairs = {row["digest"]: row for row in read_jsonl(job.files["pairs"])}
    assert rated.keys() == pairs.keys() and not job.inputs
    for digest, probability in rated.items():
        mill = int(pairs[digest]["prompt"][0]["content"].removeprefix("Who built mill ").rstrip("?"))
        chosen_is_better = mill % 4 != 3
        assert probability == (1.0 if (pairs[digest]["human"] == 1) == chosen_is_better else 0.0)


def test_other_ratings_are_another_model_and_the_same_labels(team: Team, owner: User, dataset: Dataset) -> None:
    rows = rated_rows(10)
    rows[0]["ratings"]["correctness"] = [1, 5]
    changed = imported(team, owner, jsonl(*rows))
    before, after = ({stage.name: stage.identity for stage in preview(
        team=team, recipe=recipe_on(data, "both", "factuality", factuality="correctness"), dataset=data)}
        for data in (dataset, changed))
    assert before["label:factuality"] == after["label:factuality"]
    assert before["preference_model:factuality"] != after["preference_model:factuality"]


def test_an_aspect_that_the_dataset_lacks_is_refused_before_anything_runs(
        team: Team, owner: User, dataset: Dataset) -> None:
    with pytest.raises(BadData, match="it is rated on correctness, verbosity"):
        run_create(team=team, user=owner, dataset=dataset,
                   recipe=recipe_on(dataset, "both", "factuality", factuality="care"))


def test_the_form_takes_what_was_said_of_the_aspects_into_the_recipe(
        owner_client: Client, team: Team, dataset: Dataset) -> None:
    say(owner_client, dataset, principle_0=key(team, "factuality"), principle_1=key(team, "conciseness"), lower_1="on")
    filled = posted(team, recipe_on(dataset, "ai", "factuality", "conciseness"),
                    **{"preference_model.labels_from": "people", "data.ratings": ""})
    form = owner_client.post(reverse("runs:new") + "preview/", filled).context["form"]
    assert form.is_valid(), form.errors
    assert form.recipe is not None and form.recipe.data.ratings == {
        "factuality": "correctness", "conciseness": "-verbosity"}
    assert form.recipe.preference_model.labels_from == "people"


def test_the_form_says_which_principle_has_no_aspect(owner_client: Client, team: Team, dataset: Dataset) -> None:
    filled = posted(team, recipe_on(dataset, "ai", "factuality"), **{"preference_model.labels_from": "people"})
    form = owner_client.post(reverse("runs:new") + "preview/", filled).context["form"]
    assert not form.is_valid()
    assert "factuality has no aspect in 'data.ratings'" in str(form.errors["recipe"])
