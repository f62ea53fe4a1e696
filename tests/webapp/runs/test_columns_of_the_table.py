"""The table of runs shows the columns that its address names, in the order that it names, and gives them as files."""

from __future__ import annotations

import csv
import io

import pyarrow.parquet as pq
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from tests.webapp.runs.test_rollouts_of_a_run import content_of
from training.config import Recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunTag
from webapp.runs.run_values import store_values


def recipe(target: float) -> Recipe:
    values = shipped_recipe("demo").model_dump(mode="json")
    values["ppo"]["kl"]["target"] = target
    return Recipe.model_validate(values)


@pytest.fixture
def runs(team: Team, owner: User) -> list[Run]:
    """Targets 3, 1 and 2; the first has a reward of 1.5, the second of 2.5, the third of none."""
    made = []
    for number, (target, reward) in enumerate(((3.0, 1.5), (1.0, 2.5), (2.0, None))):
        run, stages = make_run(team, owner, name=f"run {number}", until="", status="succeeded", recipe=recipe(target))
        if reward is not None:
            add_points(stages["ppo"], "reward/total", [1, 2], [9.0, reward])
            finish(stages)
        made.append(run)
    store_values(made)
    return made


def names(client: Client, query: str) -> list[str]:
    return [row.run.name for row in client.get(f"/runs/{query}").context["rows"]]


def texts(client: Client, query: str) -> list[list[str]]:
    return [[cell.text for cell in cells] for _, cells in client.get(f"/runs/{query}").context["lines"]]


def test_the_address_names_the_columns(owner_client: Client, runs: list[Run]) -> None:
    query = "?columns=kl.target,reward,best.reward,seeds,win.toxicity,principles.toxicity.weight"
    assert texts(owner_client, query) == [
        ["2", "–", "–", "1", "–", "1"], ["1", "2.5", "9", "1", "58%", "1"], ["3", "1.5", "9", "1", "58%", "1"]]
    heads = owner_client.get("/runs/?columns=kl.target,reward").context["heads"]
    assert [head.column.heading for head in heads] == ["ppo.kl.target", "Last reward"]


def test_repetitions_are_counted(owner_client: Client, team: Team, owner: User, runs: list[Run]) -> None:
    again, _ = make_run(team, owner, name="again", recipe=recipe(3.0).model_copy(update={"repeat": 1}))
    store_values([again])
    assert [row[0] for row in texts(owner_client, "?columns=seeds")] == ["2", "1", "1", "2"]


def test_a_column_that_there_is_not_is_said_and_left_out(owner_client: Client, runs: list[Run]) -> None:
    answer = owner_client.get("/runs/?columns=win,kl.targt")
    assert [head.column.name for head in answer.context["heads"]] == ["win"]
    assert "Column left out. No run has a field 'kl.targt'" in answer.context["problems"][0]


def test_columns_are_added_moved_and_taken_away_by_links(owner_client: Client, runs: list[Run]) -> None:
    answer = owner_client.get("/runs/?columns=win,kl&add=kl.target")
    assert answer.headers["Location"] == "/runs/?columns=win,kl,kl.target"
    first, middle, last = owner_client.get(answer.headers["Location"]).context["heads"]
    assert (first.left, last.right) == ("", "")
    assert first.right == "?columns=kl/mean,win,ppo.kl.target"
    assert middle.left == first.right
    assert last.left == "?columns=win,ppo.kl.target,kl/mean"
    assert middle.without == "?columns=win,ppo.kl.target"
    usual = owner_client.get("/runs/?add=seeds").headers["Location"]
    assert usual.startswith("/runs/?columns=status,sparkline,") and usual.endswith("started,seeds")


@pytest.mark.parametrize(("sort", "order"), [
    ("", "210"), ("kl.target", "120"), ("-kl.target", "021"), ("-reward", "102"), ("reward", "012"),
    ("-sparkline", "102"), ("name", "012"), ("-name", "210"), ("started", "012"), ("scalarization", "210"),
])
def test_it_sorts_and_puts_runs_without_a_value_last(
    owner_client: Client, runs: list[Run], sort: str, order: str,
) -> None:
    assert "".join(name[-1] for name in names(owner_client, f"?sort={sort}")) == order


def test_a_head_sorts_one_way_then_the_other_then_not(owner_client: Client, runs: list[Run]) -> None:
    address = "/runs/?columns=reward/total"
    for expected in ("descending", "ascending", ""):
        address = "/runs/" + owner_client.get(address).context["heads"][0].sort
        assert owner_client.get(address).context["heads"][0].aria_sort == expected


@pytest.mark.parametrize(("query", "says"), [("sort=nothing", "Not sorted. No run has"), ("sort=tags", "no order")])
def test_an_order_that_there_is_not_is_said(owner_client: Client, runs: list[Run], query: str, says: str) -> None:
    answer = owner_client.get(f"/runs/?{query}")
    assert says in answer.context["problems"][0] and len(answer.context["rows"]) == 3


def test_a_file_has_every_run_that_matches(owner_client: Client, runs: list[Run]) -> None:
    RunTag.objects.create(run=runs[0], name="paper")
    Run.objects.filter(pk=runs[0].pk).update(name="=1+1")
    query = "?q=reward>1&columns=kl.target,win,tags,scalarization&sort=kl.target"
    rows = list(csv.reader(io.StringIO(_body(owner_client, f"/runs/runs.csv{query}").decode())))
    assert rows[0] == ["run", "name", "ppo.kl.target", "win", "win.low", "win.high", "win.pairs", "tags",
                       "scalarization.function"]
    assert [row[1:4] for row in rows[1:]] == [["run 1", "1.0", "0.81"], ["'=1+1", "3.0", "0.81"]]
    assert rows[2][-2:] == ["paper", "linear"]
    table = pq.read_table(io.BytesIO(_body(owner_client, f"/runs/runs.parquet{query}")))
    assert table["ppo.kl.target"].to_pylist() == [1.0, 3.0]
    assert table["name"].to_pylist() == ["run 1", "=1+1"]
    assert [str(table.schema.field(name).type) for name in ("run", "win", "tags")] == ["int64", "double", "string"]


def test_the_usual_columns_make_a_file_too(owner_client: Client, runs: list[Run]) -> None:
    table = pq.read_table(io.BytesIO(_body(owner_client, "/runs/runs.parquet")))
    assert len(table) == 3
    assert {"reward/total", "principles.toxicity.weight", "kl/mean", "duration", "started"} <= set(table.column_names)


def test_a_run_under_way_shows_what_it_has_now(owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner)
    store_values([run])
    add_points(stages["ppo"], "policy/entropy", [1], [0.75])
    store_values([run])
    add_points(stages["ppo"], "policy/entropy", [2], [0.5])
    assert texts(owner_client, "?columns=policy/entropy") == [["0.5"]]


def test_more_runs_take_no_more_queries(
    owner_client: Client, team: Team, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(4):
        run, stages = make_run(team, owner, name=f"run {number}")
        fill(stages, 5)
        store_values([run])
    counts = []
    for words in ('"run 0"', "run"):
        with django_assert_max_num_queries(50) as queries:
            owner_client.get("/runs/", {"q": words, "columns": "kl.target,reward,seeds,tags", "sort": "-reward"})
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_stranger_gets_an_empty_file(stranger_client: Client, runs: list[Run], other_team: Team) -> None:
    assert _body(stranger_client, "/runs/runs.csv").decode().count("\n") == 1


def _body(client: Client, address: str) -> bytes:
    return content_of(client.get(address))
