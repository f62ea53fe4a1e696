"""Starting, previewing, cancelling and resuming runs: what is computed once is used again, within the team."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from training.config import Recipe
from training.errors import BadData, BadSettings
from training.run.artifacts import write_json
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from webapp.runs.services import preview, run_cancel, run_create, run_resume
from webapp.runs.stage_inputs import file_digests

S = Stage.Status


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"principles": [{"name": "toxicity"}, {"name": "factuality"}]} | changes)


def succeed(run: Run, *names: str) -> None:
    for use in run.uses.filter(name__in=names).select_related("stage"):
        write_json(use.stage.folder / "manifest.json", {"files": {}})
        Stage.objects.filter(pk=use.stage_id).update(status=S.SUCCEEDED)
    advance(run=run)
    run.refresh_from_db()


def names(run: Run, **where: Any) -> set[str]:
    return set(run.uses.filter(**where).values_list("name", flat=True))


BEFORE_PPO = ("sample", "label:toxicity", "label:factuality", "preference_model:toxicity",
              "preference_model:factuality", "weights")


def test_a_new_run_queues_what_needs_nothing_and_sends_it_to_its_queue(
        team: Team, owner: User, sent: list[tuple[Any, ...]],
        django_capture_on_commit_callbacks: Callable[..., Any]) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    assert names(run, stage__status=S.QUEUED) == {"sample"}
    assert sent == [("workers.run_next", ("gpu",), "gpu")]
    assert Recipe.model_validate(run.recipe) == recipe() and run.created_by == owner

    with django_capture_on_commit_callbacks(execute=True):
        succeed(run, "sample")
    assert names(run, stage__status=S.QUEUED) == {"label:toxicity", "label:factuality"}
    assert {queue for _, _, queue in sent[1:]} == {"io"}


def test_a_judge_that_is_a_model_on_the_workers_machine_waits_for_the_gpu(
        team: Team, owner: User, sent: list[tuple[Any, ...]],
        django_capture_on_commit_callbacks: Callable[..., Any]) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        run = run_create(team=team, user=owner, dataset=None,
                         recipe=recipe(judge={"kind": "local", "model": "someone/judge"}))
        succeed(run, "sample")
    assert names(run, stage__status=S.QUEUED) == {"label:toxicity", "label:factuality"}
    assert {queue for _, _, queue in sent} == {"gpu"}


def test_a_run_is_done_when_its_stages_are(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(run, *BEFORE_PPO, "ppo")
    assert run.status == Run.Status.RUNNING
    succeed(run, "evaluate")
    assert run.status == Run.Status.SUCCEEDED and run.finished_at


def test_changing_the_scalarization_alone_uses_everything_before_ppo_again(team: Team, owner: User) -> None:
    first = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(first, *BEFORE_PPO, "ppo", "evaluate")
    changed = recipe(scalarization={"function": "worst_case"})

    states = {row.name: (row.state, row.reused_from_run) for row in preview(team=team, recipe=changed, dataset=None)}
    assert states == dict.fromkeys(BEFORE_PPO, ("reused", first.pk)) | {
        "ppo": ("to run", None), "evaluate": ("to run", None)}

    second = run_create(team=team, user=owner, recipe=changed, dataset=None)
    assert names(second, reused=True) == set(BEFORE_PPO)
    assert names(second, stage__status=S.QUEUED) == {"ppo"}


def test_a_stage_that_is_being_computed_is_waited_for_and_not_computed_twice(team: Team, owner: User) -> None:
    first = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    changed = recipe(scalarization={"function": "worst_case"})
    planned = preview(team=team, recipe=changed, dataset=None)
    assert [row.name for row in planned if row.state == "running"] == ["sample"]

    second = run_create(team=team, user=owner, recipe=changed, dataset=None)
    assert second.stages.get(kind="sample") == first.stages.get(kind="sample")
    succeed(first, "sample")
    advance(run=second)
    assert names(second, stage__status=S.QUEUED) == {"label:toxicity", "label:factuality"}


def test_another_team_shares_nothing(team: Team, other_team: Team, owner: User, stranger: User) -> None:
    ours = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(ours, *BEFORE_PPO, "ppo", "evaluate")

    assert {row.state for row in preview(team=other_team, recipe=recipe(), dataset=None)} == {"to run"}
    theirs = run_create(team=other_team, user=stranger, recipe=recipe(), dataset=None)
    assert not set(theirs.stages.all()) & set(ours.stages.all()) and not names(theirs, reused=True)
    assert not {stage.folder for stage in theirs.stages.all()} & {stage.folder for stage in ours.stages.all()}


def test_files_that_were_deleted_are_computed_again(team: Team, owner: User) -> None:
    first = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(first, *BEFORE_PPO, "ppo", "evaluate")
    (first.stages.get(kind="weights").folder / "manifest.json").unlink()

    second = run_create(team=team, user=owner, recipe=recipe(scalarization={"function": "worst_case"}), dataset=None)

    assert names(second, stage__status=S.QUEUED) == {"weights"} and "weights" not in names(second, reused=True)


def test_a_failure_ends_the_run_once_nothing_else_is_running_and_begins_nothing_new(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(run, "sample")
    run.stages.filter(name="label:toxicity").update(status=S.FAILED, cause="No key.", crashes=2)
    advance(run=run)
    assert run.status == Run.Status.RUNNING, "the other label stage is still at work"

    succeed(run, "label:factuality")
    assert run.status == Run.Status.FAILED and not names(run, stage__status=S.QUEUED)

    run_resume(run=run, user=owner)
    assert run.status == Run.Status.RUNNING and run.finished_at is None
    again = run.stages.get(name="label:toxicity")
    assert (again.status, again.cause, again.crashes) == (S.QUEUED, "", 0)
    assert "preference_model:factuality" in names(run, stage__status=S.QUEUED)


def test_cancelling_stops_what_is_ours_alone_and_resuming_takes_it_up(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(run, "sample")
    run.stages.filter(name="label:toxicity").update(status=S.RUNNING)

    run_cancel(run=run, user=owner)
    run_cancel(run=run, user=owner)

    assert run.status == Run.Status.CANCELLED
    assert run.stages.get(name="label:toxicity").stop_requested
    assert run.stages.get(name="label:factuality").status == S.STOPPED
    run.stages.filter(name="label:toxicity").update(status=S.STOPPED)
    run_resume(run=run, user=owner)
    assert names(run, stage__status=S.QUEUED) == {"label:toxicity", "label:factuality"}


def test_a_run_that_is_resumed_at_once_wants_the_stage_that_has_yet_to_stop(team: Team, owner: User) -> None:
    run = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    run.stages.filter(name="sample").update(status=S.RUNNING)
    run_cancel(run=run, user=owner)
    run_resume(run=run, user=owner)
    stage = run.stages.get(name="sample")
    assert (stage.status, stage.stop_requested) == (S.RUNNING, False)


def test_another_limit_of_a_dataset_makes_other_data(team: Team, owner: User) -> None:
    dataset = Dataset.objects.create(team=team, name="d", status=Dataset.Status.READY, kind=Dataset.Kind.PAIRS,
                                     digest="a" * 64, rows_good=500)
    digests = [file_digests(recipe(judge={"kind": "openai", "model": "m"}, data={
        "source": "d", "limit": limit, "held_out": held_out}), dataset)
               for limit, held_out in ((100, 10), (100, 20), (200, 10))]
    assert len({tuple(sorted(by_role.items())) for by_role in digests}) == 3


@pytest.mark.parametrize("ended", [Run.Status.SUCCEEDED, Run.Status.FAILED, Run.Status.CANCELLED])
def test_cancelling_stops_a_stage_that_only_a_run_that_has_ended_uses_besides(
        team: Team, owner: User, ended: str) -> None:
    earlier = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    succeed(earlier, "sample")
    run = run_create(team=team, user=owner, recipe=recipe(name="again"), dataset=None)
    Run.objects.filter(pk=earlier.pk).update(status=ended)
    run.stages.filter(name="label:toxicity").update(status=S.RUNNING)

    run_cancel(run=run, user=owner)

    assert run.stages.get(name="label:toxicity").stop_requested
    assert run.stages.get(name="label:factuality").status == S.STOPPED


def test_a_run_started_after_a_failure_tries_the_failed_stage_again(team: Team, owner: User) -> None:
    first = run_create(team=team, user=owner, recipe=recipe(), dataset=None)
    first.stages.filter(kind="sample").update(status=S.FAILED)
    advance(run=first)

    second = run_create(team=team, user=owner, recipe=recipe(name="again"), dataset=None)

    assert names(second, stage__status=S.QUEUED) == {"sample"} and not names(second, reused=True)


def test_data_that_cannot_serve_is_refused_with_a_remedy(team: Team, owner: User) -> None:
    prompts = Dataset.objects.create(team=team, name="only prompts", kind="prompts", status="ready", digest="d")
    server = {"kind": "openai", "model": "m", "base_url": "http://localhost/v1"}
    cases: list[tuple[dict[str, Any], Dataset | None, type[Exception]]] = [
        ({"data": {"source": "some/file.jsonl"}}, None, BadSettings),
        ({"sft": {"enabled": True}}, None, BadData),
        ({"data": {"source": "dataset"}, "sample": {"pairs": "dataset"}}, prompts, BadData),
        ({"data": {"source": "dataset"}, "sft": {"enabled": True}}, prompts, BadData),
    ]
    for changes, dataset, error in cases:
        with pytest.raises(error):
            run_create(team=team, user=owner, recipe=recipe(judge=server, **changes), dataset=dataset)
    prompts.status = Dataset.Status.IMPORTING
    with pytest.raises(BadData, match="not ready"):
        preview(team=team, recipe=recipe(judge=server, data={"source": "dataset"}), dataset=prompts)
    assert not Run.objects.exists()


def test_a_preview_takes_few_queries_however_many_principles(
        team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    many = recipe(principles=[{"name": f"p{number}", "statement": "better"} for number in range(24)])
    with django_assert_max_num_queries(4):
        assert len(preview(team=team, recipe=many, dataset=None)) == 1 + 24 + 24 + 3
