"""The values of runs are derived: what is stored is what the recipe and the stages' reports say, at any time."""

from __future__ import annotations

import importlib
import math

import pytest
from django.apps import apps
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from training.config import Recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunField, RunValue, Stage
from webapp.runs.run_values import Values, recipe_values, store_values, values_of
from webapp.runs.scheduling import advance_users
from webapp.runs.services import run_cancel, run_create, run_resume


def stored(run: Run) -> Values:
    return {value.field.name: value.text if value.number is None else value.number
            for value in RunValue.objects.filter(run=run).select_related("field")}


def assert_derived(run: Run) -> None:
    run = Run.objects.get(pk=run.pk)
    assert stored(run) == values_of([run])[run.pk] != {}


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"principles": [{"name": "toxicity", "weight": 3}, {"name": "factuality"}]} | changes)


def test_a_new_run_has_the_values_of_its_recipe(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(seed=7), dataset=None)
    values = stored(run)
    assert values["principles.toxicity.weight"] == 3 and values["seed"] == 7
    assert values["scalarization.function"] == "linear" and values["ppo.kl.adaptive"] == "on"
    assert "duration" not in values and "name" not in values
    assert_derived(run)


def test_a_cancelled_run_has_a_duration_until_it_is_resumed(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    run_cancel(run=run, user=owner)
    assert "duration" in stored(run)
    assert_derived(run)
    run_resume(run=Run.objects.get(pk=run.pk), user=owner)
    assert "duration" not in stored(run)
    assert_derived(run)


def test_what_stages_reported_becomes_values_when_they_end(team: Team, owner: User) -> None:
    run, stages = make_run(team, owner, until="evaluate")
    add_points(stages["ppo"], "reward/total", [1, 2, 3], [0.5, 2.0, 1.25])
    add_points(stages["ppo"], "value/loss", [1, 2, 3], [0.5, 0.125, 0.25])
    fill({**stages, "ppo": stages["preference_model:toxicity"]}, 5)
    finish(stages)
    Stage.objects.filter(pk=stages["evaluate"].pk).update(status=Stage.Status.SUCCEEDED)
    advance_users(Stage.objects.get(pk=stages["evaluate"].pk))
    values = stored(run)
    assert (values["reward/total"], values["best.reward/total"]) == (1.25, 2.0)
    assert (values["value/loss"], values["best.value/loss"]) == (0.25, 0.125)
    assert (values["win"], values["win.pairs"], values["win.toxicity"]) == (0.81, 300, pytest.approx(0.58))
    assert 0.7 < float(values["accuracy.toxicity"]) < 1
    assert Run.objects.get(pk=run.pk).status == Run.Status.SUCCEEDED
    assert float(values["duration"]) >= 0
    assert_derived(run)


def test_a_series_of_several_chunks_has_its_best_in_any_of_them(team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    add_points(stages["ppo"], "reward/total", list(range(6)), [-1, -0.5, -3, -2, -4, -5], size=2)
    assert (values_of([run])[run.pk]["reward/total"], values_of([run])[run.pk]["best.reward/total"]) == (-5, -0.5)


def test_numbers_that_are_not_finite_are_no_values(team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    add_points(stages["ppo"], "reward/total", [1, 2], [-2.0, -1.0])
    add_points(stages["ppo"], "reward/total", [3, 4], [math.nan, math.inf])
    add_points(stages["ppo"], "kl/mean", [1], [math.nan])
    values = values_of([run])[run.pk]
    assert "reward/total" not in values and values["best.reward/total"] == -1
    assert "kl/mean" not in values and "best.kl/mean" not in values


def test_repetitions_have_the_same_settings_and_nothing_else_has() -> None:
    def digest(**changes: object) -> object:
        return dict(recipe_values(recipe(**changes).model_dump(mode="json")))["settings"]

    assert digest(seed=1, name="first") == digest(seed=2, repeat=1, name="second")
    assert digest(seed=1) != digest(seed=1, scalarization={"function": "worst_case"})


def test_the_migration_gives_older_runs_what_new_ones_have(team: Team, owner: User) -> None:
    runs = [make_run(team, owner, name=str(number))[0] for number in range(3)]
    assert not RunValue.objects.exists()
    importlib.import_module("webapp.runs.migrations.0012_values_of_runs").fill(apps, None)
    for run in runs:
        assert_derived(run)


def test_more_runs_take_no_more_queries(
    team: Team, owner: User, django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    runs = []
    for number in range(4):
        run, stages = make_run(team, owner, name=str(number))
        fill(stages, 5)
        runs.append(run)
    for count in (1, 4):
        with django_assert_num_queries(5):
            assert len(values_of(runs[:count])) == count


def test_names_are_kept_once_a_team(team: Team, owner: User) -> None:
    runs = [make_run(team, owner, name=str(number))[0] for number in range(2)]
    store_values(runs[:1])
    names = RunField.objects.count()
    store_values(runs)
    assert RunField.objects.count() == names
    assert RunValue.objects.filter(field__name="ppo.kl.target").count() == 2
