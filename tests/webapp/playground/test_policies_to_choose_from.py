"""Which policies a team may talk to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from webapp.accounts.models import Team
from webapp.playground.selectors import DEMO_BASE, NotYours, policies_of
from webapp.runs.models import Run

FinishRun = Callable[..., Run]


def keys(team: Team) -> list[str]:
    return [choice.key for choice in policies_of(team.pk).choices]


def test_without_a_run_there_is_the_demo_worlds_base(team: Team) -> None:
    policies = policies_of(team.pk)
    assert [choice.title for choice in policies.choices] == ["Demo world (base)"]
    assert policies.pair_for(None) == (DEMO_BASE, DEMO_BASE)
    assert policies.scorer((DEMO_BASE, DEMO_BASE)) is None


def test_a_finished_run_gives_its_policy_and_its_base(team: Team, finish_run: FinishRun) -> None:
    run = finish_run(team, base="org/small-model")
    assert keys(team) == [f"tuned:{run.pk}", "base:org/small-model", DEMO_BASE]


def test_runs_on_one_base_share_it(team: Team, finish_run: FinishRun) -> None:
    first, second = finish_run(team, "first"), finish_run(team, "second")
    assert keys(team) == [f"tuned:{second.pk}", f"tuned:{first.pk}", DEMO_BASE]


def test_after_sft_the_start_is_the_sft_model(team: Team, finish_run: FinishRun) -> None:
    run = finish_run(team, sft=True)
    sft = run.stages.get(kind="sft").pk
    policies = policies_of(team.pk)
    assert policies.pair_for(run.pk) == (f"sft:{sft}", f"tuned:{run.pk}")
    assert policies.reference(f"sft:{sft}") == {"stage": None, "sft": sft, "base": "demo-world"}
    assert policies.reference(f"tuned:{run.pk}")["sft"] == sft


def test_a_run_that_still_trains_is_not_offered(team: Team, finish_run: FinishRun) -> None:
    finish_run(team, done=False)
    assert keys(team) == [DEMO_BASE]


def test_policies_that_were_kept_on_the_way_stand_below_the_last_one(team: Team, finish_run: FinishRun) -> None:
    run = finish_run(team, "kept")
    Run.objects.filter(pk=run.pk).update(recipe=run.recipe | {"ppo": {"keep_every": 40, "steps": 120}})
    policies = policies_of(team.pk)
    assert keys(team)[:3] == [f"tuned:{run.pk}", f"tuned:{run.pk}@80", f"tuned:{run.pk}@40"]
    assert policies.choices[1].title == f"kept (run {run.pk}, step 80)"
    last = policies.reference(f"tuned:{run.pk}")
    assert policies.reference(f"tuned:{run.pk}@40") == last | {"step": 40} and "step" not in last
    assert policies.scorer((DEMO_BASE, f"tuned:{run.pk}@40")).run == run.pk
    for key in (f"tuned:{run.pk}@41", f"tuned:{run.pk}@120", f"tuned:{run.pk}@0", f"tuned:{run.pk}@x"):
        with pytest.raises(NotYours):
            policies.reference(key)


def test_many_kept_policies_do_not_fill_the_list(
        team: Team, finish_run: FinishRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.playground.selectors.MOST_KEPT", 3)
    runs = [finish_run(team, f"run {number}") for number in range(2)]
    for run in runs:
        Run.objects.filter(pk=run.pk).update(recipe=run.recipe | {"ppo": {"keep_every": 5, "steps": 15}})
    older, newer = (f"tuned:{run.pk}" for run in runs)
    assert keys(team) == [newer, f"{newer}@10", f"{newer}@5", older, f"{older}@5", DEMO_BASE]


def test_the_address_chooses_the_run_and_else_it_is_the_newest(team: Team, finish_run: FinishRun) -> None:
    first, second = finish_run(team, "first"), finish_run(team, "second")
    policies = policies_of(team.pk)
    assert policies.pair_for(first.pk) == (DEMO_BASE, f"tuned:{first.pk}")
    assert policies.pair_for(None) == policies.pair_for(999) == (DEMO_BASE, f"tuned:{second.pk}")


def test_another_teams_policies_cannot_be_named(team: Team, other_team: Team, finish_run: FinishRun) -> None:
    theirs = finish_run(other_team, base="/their/folder", sft=True)
    policies = policies_of(team.pk)
    for key in (f"tuned:{theirs.pk}", "base:/their/folder", f"sft:{theirs.stages.get(kind='sft').pk}", "base:any/model",
                "tuned:", "", "nonsense"):
        with pytest.raises(NotYours):
            policies.reference(key)
    assert policies.scorer((DEMO_BASE, DEMO_BASE), theirs.pk) is None


def test_the_right_policys_run_scores_unless_another_is_chosen(team: Team, finish_run: FinishRun) -> None:
    first, second = finish_run(team, "first"), finish_run(team, "second")
    policies = policies_of(team.pk)
    pair = (f"tuned:{first.pk}", f"tuned:{second.pk}")
    assert policies.scorer(pair).run == second.pk
    assert policies.scorer((f"tuned:{first.pk}", DEMO_BASE)).run == first.pk
    assert policies.scorer(pair, first.pk).run == first.pk


def test_many_runs_cost_no_more_queries(team: Team, finish_run: FinishRun) -> None:
    for number in range(5):
        finish_run(team, f"run {number}")
    with CaptureQueriesContext(connection) as captured:
        assert len(policies_of(team.pk).choices) == 6
    assert len(captured) == 4
