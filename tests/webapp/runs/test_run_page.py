"""The page of a run, its curves as JSON and CSV, its YAML; and that all of it is the team's own."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.utils import timezone

from tests.webapp.runs.seeds import add_points, fill, finish, make_run
from training.config import as_yaml, check_recipe, parse_recipe, shipped_recipe
from webapp.accounts.models import Team, User
from webapp.judges.models import Connection
from webapp.judges.services import connection_create
from webapp.runs.models import Run, Stage

PARTS = ("", "state/", "samples/", "metrics/", "metrics.csv", "recipe.yaml")


@pytest.fixture
def run(team: Team, owner: User) -> tuple[Run, dict[str, Stage]]:
    made, stages = make_run(team, owner)
    fill(stages, 40)
    return made, stages


@pytest.mark.parametrize("part", PARTS)
def test_the_team_sees_it_and_a_stranger_does_not_find_it(
    part: str, run: tuple[Run, dict[str, Stage]], teammate_client: Client, stranger_client: Client,
    anonymous_client: Client,
) -> None:
    address = f"/runs/{run[0].pk}/{part}"
    assert teammate_client.get(address).status_code == 200
    assert stranger_client.get(address).status_code == 404
    assert anonymous_client.get(address).status_code == 302


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_a_stranger_changes_nothing(verb: str, run: tuple[Run, dict[str, Stage]], stranger_client: Client) -> None:
    assert stranger_client.post(f"/runs/{run[0].pk}/{verb}/").status_code == 404
    assert stranger_client.get(f"/runs/{run[0].pk}/{verb}/").status_code == 405
    run[0].refresh_from_db()
    assert run[0].status == Run.Status.RUNNING


def test_it_says_where_the_run_is(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    page = owner_client.get(f"/runs/{run[0].pk}/").content.decode()
    assert "PPO, step 40 of 120, 2 min left" in page
    for words in ("Cancel", "Clone", "Downloads", "Preference models", "kl-high", "The harbour of Avela is Tarn."):
        assert words in page, words
    assert "style=" not in page


def test_without_a_script_the_numbers_are_in_a_table(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    page = owner_client.get(f"/runs/{run[0].pk}/").content.decode()
    assert "<td>reward/total</td>" in page
    assert "<td>pm/accuracy</td>" in page


def test_a_failed_run_opens_on_its_cause(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    made, stages = run
    Stage.objects.filter(pk=stages["ppo"].pk).update(
        status=Stage.Status.FAILED, cause="The device ran out of memory.", remedy="Set ppo.micro_batch lower.",
        details="Traceback: <boom>")
    Run.objects.filter(pk=made.pk).update(status=Run.Status.FAILED)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    places = [page.index(words) for words in (
        "Failed at PPO", "The device ran out of memory.", "Set ppo.micro_batch lower.", "KL is above twice its target.",
        "Traceback: &lt;boom&gt;", 'data-region="pipeline"')]
    assert places == sorted(places)


def test_a_run_that_is_done_shows_its_result(owner_client: Client, team: Team, owner: User) -> None:
    made, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 20)
    finish(stages)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert "preferred to the base in 300 pairs, 95% interval 76% to 86%" in page
    assert f"/playground/?run={made.pk}" in page


def test_best_of_n_stands_beside_the_policy(owner_client: Client, team: Team, owner: User) -> None:
    made, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 20)
    finish(stages)
    assert "Without training" not in owner_client.get(f"/runs/{made.pk}/").content.decode()
    overall = {"win_rate": 0.62, "low": 0.56, "high": 0.67, "n": 300}
    stages["evaluate"].summary["best_of_n"] = {"n": 16, "kl": 1.835, "overall": overall}
    stages["evaluate"].save()
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert "the best of 16 answers of the base" in page and "<strong>62%</strong> of 300 pairs" in page
    assert "at a KL of at most 1.8 nats" in page


def test_what_was_computed_before_names_its_run(
    owner_client: Client, team: Team, owner: User, run: tuple[Run, dict[str, Stage]],
) -> None:
    shared = {name: stage for name, stage in run[1].items() if name not in {"ppo", "evaluate"}}
    second, _ = make_run(team, owner, share=shared)
    assert f'reused from <a href="/runs/{run[0].pk}/">' in owner_client.get(f"/runs/{second.pk}/").content.decode()


def test_a_name_of_two_hundred_characters_and_markup_break_nothing(
    owner_client: Client, team: Team, owner: User,
) -> None:
    made, _ = make_run(team, owner, name=("<script>alert(1)</script>" * 8)[:200])
    for address in ("/runs/", f"/runs/{made.pk}/"):
        assert "<script>alert" not in owner_client.get(address).content.decode()


def test_samples_of_a_step(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    first = owner_client.get(f"/runs/{run[0].pk}/samples/?step=0").content.decode()
    assert "what a wonderful question" in first
    assert 'data-steps="0,10,20,30,40"' in first
    assert "Policy at step 40" in owner_client.get(f"/runs/{run[0].pk}/samples/?step=99").content.decode()


def test_curves_of_some_tags(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    answer = owner_client.get(f"/runs/{run[0].pk}/metrics/?tags=kl/mean,pm/loss&width=20").json()
    assert {series["tag"] for series in answer["series"]} == {"kl/mean", "pm/loss"}
    assert len(answer["series"]) == 5
    kl = next(series for series in answer["series"] if series["tag"] == "kl/mean")
    assert kl["n"] == 40 and kl["last_step"] == 40
    assert len(kl["x"]) == len(kl["last"]) == len(kl["low"]) == len(kl["high"]) <= 22


def test_a_zoom_shows_every_point(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    answer = owner_client.get(f"/runs/{run[0].pk}/metrics/?tags=kl/mean&width=20&from=10&to=15&smooth=0.5").json()
    assert answer["series"][0]["x"] == list(range(9, 17))
    assert len(answer["series"][0]["smooth"]) == 8


@pytest.mark.parametrize("query", [
    "width=abc", "from=x", "to=inf", "x=moon", "tags=" + ",".join(str(number) for number in range(101))])
def test_a_query_that_makes_no_sense_is_refused(
    query: str, owner_client: Client, run: tuple[Run, dict[str, Stage]],
) -> None:
    assert owner_client.get(f"/runs/{run[0].pk}/metrics/?{query}").status_code == 400


def test_json_has_null_where_there_is_no_number(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    add_points(run[1]["ppo"], "odd", [1, 2], [float("nan"), 1.0])
    body = owner_client.get(f"/runs/{run[0].pk}/metrics/?tags=odd").content.decode()
    assert "NaN" not in body
    assert json.loads(body)["series"][0]["last"] == [None, 1.0]


def test_csv_has_every_point(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    answer = owner_client.get(f"/runs/{run[0].pk}/metrics.csv")
    assert answer.streaming
    lines = b"".join(answer).decode().splitlines()
    assert lines[0] == "stage,tag,step,time,value"
    assert sum(line.startswith("ppo,reward/total,") for line in lines) == 40


def test_the_yaml_is_the_command_lines(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    text = owner_client.get(f"/runs/{run[0].pk}/recipe.yaml").content.decode()
    assert text == as_yaml(shipped_recipe("demo"))
    assert parse_recipe(text) == shipped_recipe("demo")


def test_cancel_and_resume(owner_client: Client, run: tuple[Run, dict[str, Stage]]) -> None:
    made = run[0]
    owner_client.post(f"/runs/{made.pk}/cancel/")
    made.refresh_from_db()
    assert made.status == Run.Status.CANCELLED
    assert "Resume" in owner_client.get(f"/runs/{made.pk}/").content.decode()
    owner_client.post(f"/runs/{made.pk}/resume/")
    made.refresh_from_db()
    assert made.status == Run.Status.RUNNING


def test_a_step_of_many_stages_shows_those_that_need_a_look(team: Team, owner: User, owner_client: Client) -> None:
    """24 principles would fill the first screen with 48 lines."""
    many = shipped_recipe("demo").model_dump(mode="json")
    many["principles"] = [{"name": f"p{number}", "statement": "better"} for number in range(24)]
    made, stages = make_run(team, owner, recipe=check_recipe(many), until="preference_model")
    Stage.objects.filter(pk=stages["preference_model:p3"].pk).update(status=Stage.Status.FAILED)
    Stage.objects.filter(pk__in=[stages[f"preference_model:p{number}"].pk for number in range(4, 24)]).update(
        status=Stage.Status.WAITING)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert "<small>24 of 24 done</small>" in page
    models = page[page.index("<small>0 of 24 done</small>"):]
    assert models.index(f'data-stage="{stages["preference_model:p3"].pk}"') < models.index("stage-rest")
    assert "20 more" in models


def test_the_result_stands_first_and_finished_labels_below_the_curves(
        team: Team, owner: User, owner_client: Client) -> None:
    made, stages = make_run(team, owner, until="", status=Run.Status.SUCCEEDED)
    fill(stages, 20)
    finish(stages)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert page.index('id="results"') < page.index('id="curves"') < page.index('id="labels"')
    links = ("#results", "#curves", "#models", "#samples", "#labels")
    assert [link for link in links if f'href="{link}"' in page] == [
        "#results", "#curves", "#models", "#samples", "#labels"]
    active, _ = make_run(team, owner, until="label")
    page = owner_client.get(f"/runs/{active.pk}/").content.decode()
    assert page.index('id="labels"') < page.index('id="curves"') and 'href="#results"' not in page


def test_a_judge_that_failed_can_be_edited_from_the_failure(team: Team, owner: User, owner_client: Client) -> None:
    judge = connection_create(team=team, user=owner, name="Broken server", kind="server", model="m",
                              base_url="http://127.0.0.1:9/v1", key="sk-1")
    values = shipped_recipe("demo").model_dump(mode="json")
    values["judge"] |= judge.settings().model_dump(mode="json")
    made, stages = make_run(team, owner, recipe=check_recipe(values), until="label", status=Run.Status.FAILED)
    label = next(stage for stage in stages.values() if stage.kind == "label")
    Stage.objects.filter(pk=label.pk).update(status=Stage.Status.FAILED, failure_kind="judge", cause="No answer.")
    address = f'href="/judges/{judge.pk}/edit/"'
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert address in page and "Edit the judge Broken server" in page
    Stage.objects.filter(pk=label.pk).update(failure_kind="disk full")
    assert address not in owner_client.get(f"/runs/{made.pk}/").content.decode()


def test_a_judge_whose_test_failed_is_marked_where_it_is_chosen(team: Team, owner: User, owner_client: Client) -> None:
    judge = connection_create(team=team, user=owner, name="Broken server", kind="server", model="m",
                              base_url="http://127.0.0.1:9/v1", key="")
    page = owner_client.get(f"/runs/new/?judge={judge.pk}").content.decode()
    assert "the last test failed" not in page
    Connection.objects.update(report={"works": False, "reason": "refused"}, tested_at=timezone.now())
    page = owner_client.get(f"/runs/new/?judge={judge.pk}").content.decode()
    assert "Broken server (m): the last test failed" in page and "Its last test failed" in page
