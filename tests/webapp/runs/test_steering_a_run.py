"""A run's labels while they are bought: what is there and what it cost, paused, resumed, at another pace."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.judges.test_estimates import asking
from tests.webapp.runs.seeds import make_run
from training import config
from training.judges.control import read_control
from training.judges.identity import judge_name
from training.run.artifacts import read_json
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair
from webapp.principles.models import PrincipleVersion
from webapp.runs.models import Run, Stage
from webapp.runs.page.labelling import labelling_of, labelling_steer
from workers.pacing import Pacing


@pytest.fixture
def run(team: Team, owner: User) -> Run:
    made, _ = make_run(team, owner, recipe=asking(max_pairs=100), until="label")
    return made


def stage_of(run: Run, principle: str = "factuality") -> Stage:
    return run.stages.get(kind="label", principle=principle)


def buy(run: Run, count: int, **fields: Any) -> None:
    """Labels on factuality, as a recorder writes them."""
    wording = next(choice["statement"] for choice in run.recipe["principles"] if choice["name"] == "factuality")
    version = PrincipleVersion.objects.get(principle__team=run.team, principle__name="factuality")
    assert wording in ("", version.statement)
    answer = {"probability": 0.8, "p_shown": 0.8, "p_swapped": 0.8, "order_gap": 0.0, "confidence": 0.6, "tokens": 1002}
    judge = judge_name(config.JudgeSettings.model_validate(run.recipe["judge"]))
    for number in range(count):
        pair = Pair.objects.create(team=run.team, digest=f"{number:032d}", excerpt="Q?")
        Label.objects.create(team=run.team, pair=pair, principle_version=version, judge=judge, prompt_version="1",
                             **answer | fields)


def steer(client: Client, run: Run, **fields: str) -> None:
    assert client.post(reverse("judges:run_steer", args=[run.pk]), fields).status_code == 302


def test_what_was_bought_and_what_it_cost_is_told_by_principle(run: Run, owner_client: Client) -> None:
    buy(run, 10)
    Stage.objects.filter(pk=stage_of(run).pk).update(progress_done=10, progress_total=100, eta_seconds=90)

    labelling = labelling_of(run)
    row = next(row for row in labelling.rows if row.principle.name == "factuality")
    assert labelling.spent == pytest.approx(10 * (1000 * 1.0 + 2 * 4.0) / 1e6)
    assert row.per_minute == pytest.approx(60)
    assert (labelling.done, labelling.eta) == (10, 90)
    page = owner_client.get(reverse("judges:run_labelling", args=[run.pk])).content.decode()
    assert "spent so far" in page
    assert "every 2s" in page


def test_labels_of_before_the_run_cost_it_nothing(run: Run) -> None:
    buy(run, 3)
    Label.objects.update(created_at=run.created_at.replace(year=2020))

    assert labelling_of(run).spent == 0


def test_the_page_of_a_run_that_is_done_does_not_ask_again(run: Run, owner_client: Client) -> None:
    run.stages.update(status=Stage.Status.SUCCEEDED)

    assert "every 2s" not in owner_client.get(reverse("judges:run_labelling", args=[run.pk])).content.decode()


def test_a_paused_run_says_so_and_goes_on_when_told(run: Run, owner_client: Client) -> None:
    steer(owner_client, run, action="pause")
    page = owner_client.get(reverse("runs:detail", args=[run.pk])).content.decode()
    assert labelling_of(run).paused
    assert "Resume labelling" in page

    steer(owner_client, run, action="go")
    assert not labelling_of(run).paused


def test_the_worker_that_has_the_stage_writes_what_its_process_reads(run: Run) -> None:
    stage = stage_of(run)
    Pacing(stage).look()
    assert not (stage.folder / "control.json").exists(), "nobody has said anything"

    labelling_steer(run=run, paused=True, requests_per_minute=300)
    Pacing(stage).look()
    assert read_control(stage.folder).paused
    assert read_json(stage.folder / "control.json")["requests_per_minute"] == 300

    labelling_steer(run=run, paused=False)
    Pacing(stage).look()
    assert not read_control(stage.folder).paused
    assert read_control(stage.folder).requests_per_minute == 300


def test_a_stage_that_is_done_is_not_steered(run: Run) -> None:
    Stage.objects.filter(pk=stage_of(run).pk).update(status=Stage.Status.SUCCEEDED)

    labelling_steer(run=run, paused=True)

    assert not hasattr(stage_of(run), "pace")


@pytest.mark.parametrize(("rate", "flight"), [("-1", "4"), ("x", "4"), ("10", "0"), ("10", "1000")])
def test_a_pace_out_of_bounds_changes_nothing(rate: str, flight: str, run: Run, owner_client: Client) -> None:
    steer(owner_client, run, action="pace", requests_per_minute=rate, concurrency=flight)

    assert labelling_of(run).requests_per_minute is None


def test_a_pace_is_set_for_all_principles_that_are_left(run: Run, owner_client: Client) -> None:
    steer(owner_client, run, action="pace", requests_per_minute="600", concurrency="8")

    labelling = labelling_of(run)
    assert (labelling.requests_per_minute, labelling.concurrency) == (600, 8)
    assert all(stage.pace.requests_per_minute == 600 for stage in run.stages.filter(kind="label"))


def test_more_labels_take_no_more_queries(run: Run, django_assert_max_num_queries: Any) -> None:
    buy(run, 30)
    with django_assert_max_num_queries(10):
        labelling_of(run)
