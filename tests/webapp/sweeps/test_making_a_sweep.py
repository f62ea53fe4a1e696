"""One form makes many runs: what it would do is counted beforehand, and what is wrong stands at its field."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.webapp.runs.seeds import make_run
from tests.webapp.sweeps.made import demo, end, make_sweep, run_of
from training.config import JudgeSettings
from training.errors import BadSettings
from training.run.pipeline import plan
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.sweeps.models import Sweep, SweepRun
from webapp.sweeps.planning import planned_runs, sweep_plan

NEW = "/sweeps/new/"
STAGES = len(plan(demo()))  # one sample, four labels, four preference models, weights, PPO, evaluation


@pytest.fixture(autouse=True)
def _nothing_is_sent(sent: list[tuple[object, ...]]) -> None:
    """No test here needs a worker."""


def fields(**more: Any) -> dict[str, Any]:
    return {"name": "My sweep", "at_a_time": "1", "way": "fields", "draw_seed": "0", **more}


def text_of(client: Client, data: dict[str, Any], address: str = NEW, status: int = 422) -> str:
    answer = client.post(address, data)
    assert answer.status_code == status, answer.content.decode()[:2000]
    return re.sub(r"\s+", " ", answer.content.decode().replace("&#x27;", "'"))


# What it would do -----------------------------------------------------------------------------------------------------


def test_the_plan_counts_what_is_shared_once(team: Team) -> None:
    """Three coefficients change PPO and the evaluation alone: all before them is shared."""
    planned = sweep_plan(team=team, base=demo(), dataset=None, over={"grid": {"ppo.kl.coefficient": [0.05, 0.1, 0.2]}})
    assert (len(planned.runs), planned.stages, planned.distinct) == (3, 3 * STAGES, STAGES - 2 + 3 * 2)
    assert planned.reused == 0 and planned.to_run == planned.distinct
    assert planned.labels == len(demo().principles)


def test_what_the_team_has_computed_is_not_computed_again(team: Team, owner: User) -> None:
    end(run_of(make_sweep(team, owner, {"grid": {"ppo.kl.coefficient": [0.05]}}), 1))
    planned = sweep_plan(team=team, base=demo(), dataset=None, over={"grid": {"ppo.kl.coefficient": [0.05, 0.1, 0.2]}})
    assert planned.reused == STAGES
    assert planned.to_run == 2 * 2, "PPO and the evaluation of the two new ones"
    assert planned.labels == 0


def test_another_teams_stages_count_for_nothing(team: Team, other_team: Team, owner: User) -> None:
    end(run_of(make_sweep(team, owner), 1))
    assert sweep_plan(team=other_team, base=demo(), dataset=None, over={"seeds": [0]}).reused == 0


def test_more_runs_take_no_more_queries(
        team: Team, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    end(run_of(make_sweep(team, owner), 1))
    for count in (2, 12):
        with django_assert_max_num_queries(12):
            sweep_plan(team=team, base=demo(), dataset=None, over={"seeds": list(range(count))})


def test_the_preview_says_it_in_words_while_one_types(owner_client: Client, team: Team) -> None:
    page = text_of(owner_client, fields(**{"grid-path": ["ppo.kl.coefficient"], "grid-values": ["0.05, 1e-1"]}),
                   reverse("sweeps:preview"), 200)
    assert f">{2 * STAGES}</span> in all" in page
    assert f">{STAGES + 2}</span> of them distinct" in page
    assert "ppo.kl.coefficient = 0.1" in page


# The start ------------------------------------------------------------------------------------------------------------


def test_every_way_of_the_form_makes_its_combinations(owner_client: Client, team: Team) -> None:
    first, second = [choice.name for choice in demo().rewarded][:2]
    answer = owner_client.post(NEW, fields(**{
        "grid-path": ["ppo.kl.coefficient", ""], "grid-values": ["0.05, 0.1", ""], "simplex": [first, second],
        "parts": "2", "function": ["linear", "worst_case"], "seeds": "0, 1", "start": "1"}))
    sweep = Sweep.objects.of(team).get()
    assert answer["Location"] == f"/sweeps/{sweep.pk}/"
    assert sweep.entries.count() == 2 * 3 * 2 * 2
    varied = sweep.entries.get(number=1).varied
    assert set(varied) == {"ppo.kl.coefficient", "scalarization.function", f"principles.{first}.weight",
                           f"principles.{second}.weight", "repeat"}
    assert run_of(sweep, 1).name == "My sweep, run 1"


def test_random_draws_stay_in_their_range(owner_client: Client, team: Team) -> None:
    owner_client.post(NEW, fields(**{"draw-path": ["ppo.learning_rate"], "draw-low": ["1e-5"], "draw-high": ["1e-3"],
                                     "draw-scale": ["log"], "draw_count": "5", "start": "1"}))
    rates = [entry.varied["ppo.learning_rate"] for entry in SweepRun.objects.filter(team=team)]
    assert len(set(rates)) == 5 and all(1e-5 <= rate <= 1e-3 for rate in rates)


def test_the_fields_write_the_yaml_and_the_yaml_starts_the_sweep(owner_client: Client, team: Team) -> None:
    page = owner_client.post(NEW, fields(**{"grid-path": ["ppo.steps"], "grid-values": ["20, 40"], "fill_yaml": "1"}))
    written = re.search(r'name="yaml"[^>]*>([^<]+)<', page.content.decode())
    assert written and "ppo.steps: [20, 40]" in written[1]
    owner_client.post(NEW, fields(way="yaml", yaml=written[1], start="1"))
    assert [entry.varied for entry in SweepRun.objects.filter(team=team)] == [{"ppo.steps": 20}, {"ppo.steps": 40}]


def test_a_sweep_takes_the_recipe_of_a_run(owner_client: Client, team: Team, owner: User) -> None:
    run, _ = make_run(team, owner, recipe=demo().model_copy(update={"seed": 77}), name="The base")
    page = owner_client.get(f"{NEW}?run={run.pk}").content.decode()
    assert f'value="{run.pk}" selected' in page
    owner_client.post(NEW, fields(run=str(run.pk), seeds="3", start="1"))
    assert Sweep.objects.of(team).get().recipe["seed"] == 77
    assert f"/sweeps/new/?run={run.pk}" in owner_client.get(f"/runs/{run.pk}/").content.decode()
    assert 'href="/sweeps/new/"' in owner_client.get("/runs/").content.decode()


def test_a_row_more_without_a_script(owner_client: Client, team: Team) -> None:
    page = text_of(owner_client, fields(**{"grid-path": ["ppo.steps", "", ""], "grid-values": ["20", "", ""],
                                           "add_row": "1"}), status=200)
    assert page.count('name="grid-path"') == 4 and 'value="ppo.steps"' in page
    assert not Sweep.objects.exists()


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "anchor", "words"), [
    ({}, "id_over", "Nothing is varied yet"),
    ({"grid-path": ["ppo.no_such"], "grid-values": ["1"]}, "id_grid-0", "ppo.no_such"),
    ({"grid-path": ["ppo.steps"], "grid-values": [""]}, "id_grid-0", "'ppo.steps' has no values"),
    ({"grid-path": [""], "grid-values": ["1, 2"]}, "id_grid-0", "have no field"),
    ({"grid-path": ["ppo.steps"], "grid-values": ["1, ["]}, "id_grid-0", "cannot be read"),
    ({"grid-path": ["ppo.kl.coefficient", "ppo.steps"], "grid-values": ["0.1", "-3"]}, "id_grid-1", "-3"),
    ({"grid-path": ["data.source"], "grid-values": ["owner/name"]}, "id_grid-0", "demo world only"),
    ({"simplex": ["toxicity"], "parts": "2"}, "id_simplex", "principles"),
    ({"parts": "two"}, "id_parts", "'Parts' is 'two': give a whole number"),
    ({"seeds": "1, x"}, "id_seeds", "'Repetitions' is 'x'"),
    ({"seeds": ",".join(map(str, range(201)))}, "id_over", "makes 201 runs; a sweep of the web has at most 200"),
    ({"draw-path": ["ppo.steps"], "draw-low": ["a"], "draw-high": ["5"], "draw-scale": ["even"], "draw_count": "2"},
     "id_draw-0", "needs a path and two numbers"),
    ({"way": "yaml", "yaml": "grid: ["}, "id_yaml", "YAML"),
    ({"way": "yaml", "yaml": "rubbish: 1"}, "id_yaml", "rubbish"),
    ({"seeds": "1", "at_a_time": "0"}, "id_at_a_time", "Give a number from 1 to 50"),
    ({"seeds": "1", "name": " "}, "id_name", "Give a name of 1 to 180"),
])
def test_what_is_wrong_stands_at_its_field(owner_client: Client, team: Team, typed: dict[str, Any], anchor: str,
                                           words: str) -> None:
    page = text_of(owner_client, fields() | typed | {"start": "1"})
    summary = page.partition('id="error-summary"')[2].partition("</ul>")[0]
    assert f'href="#{anchor}"' in summary and words in summary, summary
    assert f'id="{anchor}"' in page, "the link leads to the field"
    assert not Sweep.objects.exists() and not Run.objects.exists()


def test_the_runs_of_a_sweep_share_their_data(team: Team) -> None:
    judge = JudgeSettings(kind="openai", model="m", base_url="http://127.0.0.1:9/v1", api_key_env="")
    base = demo().model_copy(update={"judge": judge})
    with pytest.raises(BadSettings, match="the runs of a sweep share their data"):
        planned_runs(team=team, base=base, over={"grid": {"data.source": ["owner/name"]}})


def test_a_key_is_not_sent_to_a_host_that_a_sweep_names(owner_client: Client, team: Team) -> None:
    base = "{kind: openai, model: m, api_key_env: CONCORD_JUDGE_OTHER_KEY, base_url: 'https://elsewhere.example/v1'}"
    page = text_of(owner_client, fields(way="yaml", yaml=f"grid: {{judge: [{base}]}}", start="1"))
    assert "may not be sent to the host" in page, page[page.find("error-summary"):][:900]
    assert not Sweep.objects.exists()


# Other teams ----------------------------------------------------------------------------------------------------------


def test_another_teams_run_and_sweep_are_not_there(stranger_client: Client, team: Team, owner: User) -> None:
    sweep = make_sweep(team, owner)
    run = run_of(sweep, 1)
    before = list(SweepRun.objects.values_list("status", flat=True))
    assert stranger_client.get(f"{NEW}?run={run.pk}").status_code == 404
    assert stranger_client.post(NEW, fields(run=str(run.pk), seeds="1")).status_code == 404
    for name in ("detail", "live", "extend"):
        assert stranger_client.get(reverse(f"sweeps:{name}", args=[sweep.pk])).status_code == 404
    for name in ("pause", "go_on", "cancel", "change", "extend", "extend_preview"):
        assert stranger_client.post(reverse(f"sweeps:{name}", args=[sweep.pk]), {"confirmed": "1"}).status_code == 404
    assert sweep.name not in stranger_client.get("/sweeps/").content.decode()
    assert list(SweepRun.objects.values_list("status", flat=True)) == before
    assert not Stage.objects.filter(stop_requested=True).exists()
