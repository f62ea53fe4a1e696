"""The list of runs: a lab book that stays quick, and shows nobody another team's."""

from __future__ import annotations

import numpy as np
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from training.config import shipped_recipe
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.page.selectors import polyline, run_rows, running_now
from webapp.runs.series.curves import Series

LIST = "/runs/"


def test_an_empty_list_offers_the_demo_run(owner_client: Client) -> None:
    page = owner_client.get(LIST).content.decode()
    assert "No runs yet" in page
    assert "Start the demo run" in page
    assert "<polyline" not in page


def test_a_run_is_a_line_with_what_matters(owner_client: Client, team: Team, owner: User) -> None:
    _, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED, name="A good one")
    fill(stages, 60)
    finish(stages)
    page = owner_client.get(LIST).content.decode()
    for words in ("A good one", "linear", "factuality", "40%", "81%", "76% to 86%", "<polyline", "nats", "owner"):
        assert words in page, words


def test_it_filters_by_name_and_status(owner_client: Client, team: Team, owner: User) -> None:
    make_run(team, owner, name="red")
    make_run(team, owner, name="blue", status=Run.Status.FAILED)
    assert _names(owner_client, "?q=RED") == ["red"]
    assert _names(owner_client, "?status=failed") == ["blue"]
    assert _names(owner_client, "?status=nonsense") == ["blue", "red"]
    assert "No run matches" in owner_client.get(f"{LIST}?q=green").content.decode()


def test_it_has_pages(owner_client: Client, team: Team, owner: User) -> None:
    recipe = shipped_recipe("demo").model_dump(mode="json")
    Run.objects.bulk_create([Run(team=team, name=f"run {n}", recipe=recipe, created_by=owner) for n in range(30)])
    assert len(_names(owner_client, "")) == 25
    assert _names(owner_client, "?page=2") == [f"run {n}" for n in range(4, -1, -1)]


def test_more_runs_take_no_more_queries(
    team: Team, owner: User, django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(3):
        _, stages = make_run(team, owner, name=str(number))
        fill(stages, 20)
    for count in (1, 3):
        runs = list(Run.objects.of(team).select_related("created_by")[:count])
        with django_assert_num_queries(10):
            assert len(run_rows(team, runs)) == count


def test_a_long_run_has_a_sparkline_of_its_chunks(team: Team, owner: User) -> None:
    made, stages = make_run(team, owner)
    add_points(stages["ppo"], "reward/total", list(range(100)), [float(n) for n in range(100)], size=10)
    points = run_rows(team, [made])[0].sparkline.split()
    assert len(points) == 10
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("values", [[], [1.0], [float("nan")] * 5])
def test_without_two_numbers_there_is_no_sparkline(values: list[float]) -> None:
    n = len(values)
    assert polyline(Series(np.arange(n), np.array(values), np.zeros(n))) == ""


def test_a_level_reward_is_a_level_line() -> None:
    assert polyline(Series(np.arange(2), np.array([3.0, 3.0]), np.zeros(2))) == "1.0,22.0 95.0,22.0"


def test_what_runs_now_is_told_to_the_frame(owner_client: Client, team: Team, owner: User) -> None:
    _, stages = make_run(team, owner)
    Stage.objects.filter(pk=stages["ppo"].pk).update(progress_done=30, progress_total=120, eta_seconds=170)
    assert "PPO, step 30 of 120, 3 min left" in owner_client.get("/runs/running/").content.decode()
    now = running_now(team)
    assert now is not None and 0 < now.percent < 100 and now.others is None


def test_a_stranger_sees_none_of_it(stranger_client: Client, team: Team, owner: User) -> None:
    make_run(team, owner, name="secret plan")
    for address in (LIST, "/runs/running/", f"{LIST}?q=secret"):
        answer = stranger_client.get(address)
        assert answer.status_code == 200
        assert "secret plan" not in answer.content.decode()


def test_one_click_starts_the_demo_run(owner_client: Client, team: Team) -> None:
    answer = owner_client.post("/runs/start-demo/")
    made = Run.objects.of(team).get()
    assert answer.headers["Location"] == f"/runs/{made.pk}/"
    assert made.recipe == shipped_recipe("demo").model_dump(mode="json")
    assert owner_client.get("/runs/start-demo/").status_code == 405


def _names(client: Client, query: str) -> list[str]:
    return [row.run.name for row in client.get(f"{LIST}{query}").context["rows"]]
