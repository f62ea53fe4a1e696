"""Runs in groups: how many have the same in a field, and the mean of each number with its interval."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import add_points, make_run
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunTag
from webapp.runs.run_values import store_values


def recipe(function: str, repeat: int) -> Recipe:
    return Recipe.model_validate(shipped_recipe("demo").model_dump(mode="json") | {
        "scalarization": {"function": function}, "repeat": repeat})


@pytest.fixture
def runs(team: Team, owner: User) -> list[Run]:
    """Linear with rewards of 1, 2 and 3; worst case with one of 5; worst case without."""
    made = []
    for number, (function, reward) in enumerate((("linear", 1.0), ("linear", 2.0), ("linear", 3.0), ("worst_case", 5.0),
                                                 ("worst_case", None))):
        run, stages = make_run(team, owner, name=f"run {number}", recipe=recipe(function, number), status="succeeded")
        if reward is not None:
            add_points(stages["ppo"], "reward/total", [1], [reward])
        made.append(run)
    store_values(made)
    return made


def groups(client: Client, query: str) -> dict[str, list[str]]:
    by = client.get(f"/runs/?{query}").context["by"]
    return {group.text: [str(group.count), *(f"{mean.text} [{mean.interval}] {mean.n}" if mean else "–"
                                             for mean in group.means)] for group in by.groups}


def test_a_mean_has_the_interval_of_student(owner_client: Client, runs: list[Run]) -> None:
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.3027, half 4.3027 / sqrt(3) = 2.4841
    assert groups(owner_client, "group=scalarization&columns=reward") == {
        "linear": ["3", "2 [−0.4841 to 4.484] 3"], "worst_case": ["2", "5 [] 1"]}


def test_only_columns_of_numbers_are_there(owner_client: Client, runs: list[Run]) -> None:
    by = owner_client.get("/runs/?group=scalarization&columns=status,reward,win,policy.base,ppo.steps").context["by"]
    assert [column.name for column in by.columns] == ["reward/total", "ppo.steps"]


def test_repetitions_are_one_group(owner_client: Client, runs: list[Run]) -> None:
    assert sorted(row[0] for row in groups(owner_client, "group=settings").values()) == ["2", "3"]


def test_a_group_is_a_filter(owner_client: Client, runs: list[Run]) -> None:
    page = owner_client.get("/runs/?group=scalarization&columns=reward&q=run")
    addresses = {group.text: address for group, address in page.context["groups"]}
    assert {row.run.name for row in owner_client.get(f"/runs/{addresses['worst_case']}").context["rows"]} == {
        "run 3", "run 4"}


def test_numbers_stand_in_their_order_and_nothing_last(owner_client: Client, runs: list[Run]) -> None:
    assert list(groups(owner_client, "group=reward")) == ["1", "2", "3", "5", "–"]
    address = owner_client.get("/runs/?group=reward").context["groups"][-1][1]
    assert [row.run.name for row in owner_client.get(f"/runs/{address}").context["rows"]] == ["run 4"]


def test_a_run_is_in_the_group_of_each_of_its_tags(owner_client: Client, runs: list[Run]) -> None:
    for run, tag in ((runs[0], "a"), (runs[0], "b"), (runs[1], "b")):
        RunTag.objects.create(run=run, name=tag)
    assert {text: row[0] for text, row in groups(owner_client, "group=tags").items()} == {"a": "1", "b": "2", "–": "3"}
    assert groups(owner_client, "group=status")["succeeded"][0] == "5"
    assert groups(owner_client, "group=by")["owner"][0] == "5"


@pytest.mark.parametrize(("field", "says"), [("nothing", "Not grouped. No run has"), ("note", "makes no groups")])
def test_a_group_that_there_is_not_is_said(owner_client: Client, runs: list[Run], field: str, says: str) -> None:
    answer = owner_client.get(f"/runs/?group={field}")
    assert says in answer.context["problems"][0] and len(answer.context["rows"]) == 5


def test_more_runs_take_no_more_queries(
    owner_client: Client, runs: list[Run], django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    counts = []
    for words in ('"run 0"', "run"):
        with django_assert_max_num_queries(40) as queries:
            owner_client.get("/runs/", {"q": words, "columns": "kl.target,reward", "group": "scalarization"})
        counts.append(len(queries))
    assert counts[0] == counts[1]
