"""Labels go to the database as they come, are bought once, and people's corrections re-train what they touch only."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import judge_server as judge
from tests.conftest import logged_in
from tests.judge_server import JudgeServer
from tests.processes import running
from tests.training.scripted_server import Reply, serving
from tests.workers.conftest import PRINCIPLES, complete, points, run_before, run_stage, small_recipe, stage_of
from training.run.artifacts import read_jsonl
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from webapp.runs.services import preview, run_create
from workers.reaping import reap

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge.judge_server() as server:
        yield server


def asked(server: JudgeServer) -> dict[str, object]:
    return {"judge": {"kind": "openai", "model": "m", "base_url": server.base_url, "max_pairs": 20, "concurrency": 2}}


def label_all(run: Run) -> None:
    for name in PRINCIPLES:
        run_stage(stage_of(run, f"label:{name}").pk)


def test_the_rule_judges_labels_are_in_the_database_with_both_orders(team: Team, owner: User) -> None:
    run = run_before("label", team, owner)

    label_all(run)

    stage = stage_of(run, "label:toxicity")
    assert stage.status == Stage.Status.SUCCEEDED and points(stage, "label/done")[-1] == 20
    labels = Label.objects.of(team).filter(principle_version__principle__name="toxicity")
    assert labels.count() == 20 == Pair.objects.of(team).count()
    label = labels.select_related("pair__text", "principle_version").first()
    assert label.probability > 0.9 and label.judge == "rule" and label.principle_version.number == 1
    assert label.confidence == pytest.approx(2 * label.probability - 1) and not label.order_flip
    assert label.pair.text.response_b.startswith("What a stupid") and "capital of Avela" in label.pair.excerpt


def test_labels_that_the_team_has_are_not_asked_for_again(
        team: Team, other_team: Team, owner: User, stranger: User, server: JudgeServer) -> None:
    recipe = asked(server) | {"principles": [{"name": "toxicity"}]}
    run_stage(stage_of(run_before("label", team, owner, **recipe), "label:toxicity").pk)
    assert server.questions.total() == 2 * 20, "both orders"

    again = stage_of(run_before("label", team, owner, seed=1, **recipe), "label:toxicity")
    assert again.status == Stage.Status.QUEUED, "another seed is another stage"
    run_stage(again.pk)
    assert server.questions.total() == 2 * 20
    assert len(list(read_jsonl(again.folder / "labels.jsonl"))) == 20 == Label.objects.of(team).count()

    run_stage(stage_of(run_before("label", other_team, stranger, **recipe), "label:toxicity").pk)
    assert server.questions.total() == 2 * 2 * 20, "another team pays for its own"


def test_a_server_is_asked_though_another_labelled_under_the_same_model(
        team: Team, owner: User, server: JudgeServer) -> None:
    principle = {"principles": [{"name": "toxicity"}]}
    run_stage(stage_of(run_before("label", team, owner, **asked(server) | principle), "label:toxicity").pk)

    with judge.judge_server() as second:
        stage = stage_of(run_before("label", team, owner, **asked(second) | principle), "label:toxicity")
        run_stage(stage.pk)
        assert second.questions.total() == 2 * 20
    assert Label.objects.of(team).count() == 2 * 20 and Label.objects.of(team).values("judge").distinct().count() == 2


def test_a_server_that_cannot_answer_labels_nothing_with_the_labels_of_another(
        team: Team, owner: User, server: JudgeServer) -> None:
    principle = {"principles": [{"name": "toxicity"}]}
    run_stage(stage_of(run_before("label", team, owner, **asked(server) | principle), "label:toxicity").pk)

    with serving(lambda *_: Reply(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})) as broken:
        judged = asked(server)["judge"] | {"base_url": broken.base_url}  # type: ignore[operator]
        stage = stage_of(run_before("label", team, owner, judge=judged, **principle), "label:toxicity")
        run_stage(stage.pk)
    stage.refresh_from_db()
    assert stage.status == Stage.Status.FAILED and "not JSON" in stage.cause


def test_a_worker_killed_while_labelling_loses_no_label_and_buys_none_twice(
        team: Team, owner: User, server: JudgeServer, process_env: dict[str, str], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    fast = judge.preference

    def slow(question: str) -> float:
        time.sleep(0.1)
        return fast(question)

    monkeypatch.setattr(judge, "preference", slow)
    run = run_before("label", team, owner, principles=[{"name": "toxicity"}], **asked(server))
    stage = stage_of(run, "label:toxicity")
    worker = [sys.executable, "-m", "celery", "--quiet", "-A", "webapp.celery", "worker", "-I", "workers.tasks", "-Q",
              "io", "--pool=threads", "--concurrency=2", "--without-mingle", "--without-gossip", "-l", "WARNING"]

    with running(worker, process_env, tmp_path / "first.log") as first:
        first.wait_until("five labels", lambda: Label.objects.count() >= 5, 30)
        os.killpg(first.popen.pid, signal.SIGKILL)
        first.popen.wait()
    monkeypatch.setattr(judge, "preference", fast)
    with running(worker, process_env, tmp_path / "second.log") as second:

        def done() -> bool:
            reap()  # beat sends this every five seconds
            stage.refresh_from_db()
            return stage.status == Stage.Status.SUCCEEDED

        second.wait_until("the rest", done, 30)

    assert Label.objects.of(team).count() == 20 and stage.attempt == 2
    assert points(stage, "label/done") == sorted(set(points(stage, "label/done")))
    twice = [question for question, count in server.questions.items() if count > 1]
    assert len(twice) <= 2 * 2, "only what was in flight may be asked again"


def test_a_corrected_label_retrains_its_own_preference_model_and_nothing_else(team: Team, owner: User) -> None:
    first = run_before("label", team, owner)
    label_all(first)
    for stage in Stage.objects.filter(uses__run=first, status__in=[Stage.Status.WAITING, Stage.Status.QUEUED]):
        complete(stage)
    advance(run=first)
    first.refresh_from_db()
    assert first.status == Run.Status.SUCCEEDED

    label = Label.objects.of(team).filter(principle_version__principle__name="toxicity").first()
    label.review, label.corrected_probability = Label.Review.OVERRIDDEN, 0.125
    label.save()

    states = {row.name: row.state for row in preview(team=team, recipe=small_recipe(), dataset=None)}
    assert {name for name, state in states.items() if state == "to run"} == {
        "preference_model:toxicity", "weights", "ppo", "evaluate"}
    second = run_create(team=team, user=owner, recipe=small_recipe(), dataset=None)
    assert {use.name for use in second.uses.filter(reused=False)} == {
        "preference_model:toxicity", "weights", "ppo", "evaluate"}


def test_labels_corrected_while_a_run_waits_are_what_its_preference_model_is_trained_on(
        team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_before("label", team, owner)
    label_all(run)
    planned = stage_of(run, "preference_model:toxicity")
    other = stage_of(run, "preference_model:conciseness")
    assert planned.status == Stage.Status.QUEUED
    overridden, rejected = Label.objects.of(team).filter(principle_version__principle__name="toxicity")[:2]
    Label.objects.filter(pk=overridden.pk).update(review="overridden", corrected_probability=0.125)
    Label.objects.filter(pk=rejected.pk).update(review="rejected")

    run_stage(planned.pk)

    now = stage_of(run, "preference_model:toxicity")
    assert now != planned and now.status == Stage.Status.QUEUED
    assert Stage.objects.get(pk=planned.pk).status == Stage.Status.WAITING
    assert stage_of(run, "preference_model:conciseness") == other
    page = logged_in(owner).get(f"/runs/{run.pk}/")
    said = "Labels of toxicity were corrected while a run was waiting. Training uses the corrected labels."
    assert page.content.decode().count(said) == 2, "above the pipeline and in the log"
    assert list(now.log.values_list("message", flat=True)) == [said]
    monkeypatch.setattr("workers.preparing.stage_command", lambda folder: ["false"])  # what it is given is enough here
    run_stage(now.pk)
    probabilities = {row["pair"]: row["probability"] for row in read_jsonl(now.folder / "files" / "labels.jsonl")}
    assert len(probabilities) == 19 and rejected.pair.digest not in probabilities
    assert probabilities[overridden.pair.digest] == 0.125
    assert stage_of(run, "preference_model:toxicity") == now
