"""A label's page names the runs that it trained; "Train again" lists those whose labels people corrected since."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.conftest import logged_in
from tests.workers.conftest import PRINCIPLES, complete, run_before, run_stage, stage_of
from webapp.accounts.models import Team, User
from webapp.labels.models import Label
from webapp.labels.services import label_override, label_undo
from webapp.runs.labels_of_run import runs_of_label
from webapp.runs.models import Run, Stage
from webapp.runs.retraining.planning import runs_to_train_again
from webapp.runs.scheduling import advance

pytestmark = pytest.mark.django_db(transaction=True)
AGAIN = "/runs/train-again/"


@pytest.fixture
def finished(team: Team, owner: User) -> Run:
    owner.is_staff = True
    owner.save()
    run = run_before("label", team, owner)
    for name in PRINCIPLES:
        run_stage(stage_of(run, f"label:{name}").pk)
    for stage in Stage.objects.filter(uses__run=run).exclude(status=Stage.Status.SUCCEEDED):
        complete(stage)
    advance(run=run)
    run.refresh_from_db()
    assert run.status == Run.Status.SUCCEEDED
    return run


def label_on(team: Team, principle: str) -> Label:
    label = Label.objects.of(team).filter(principle_version__principle__name=principle).select_related(
        "pair", "principle_version__principle").first()
    assert label is not None
    return label


def test_a_labels_page_names_the_runs_that_it_trained(finished: Run, team: Team, owner: User) -> None:
    label = label_on(team, "toxicity")
    assert runs_of_label(label) == [finished.pk]
    page = logged_in(owner).get(f"/labels/{label.pk}/").content.decode()
    assert f'<a href="/runs/{finished.pk}/">run {finished.pk}</a>' in page and f"{AGAIN}?label={label.pk}" in page


def test_a_label_leads_to_its_wording_and_a_run_to_its_labels(finished: Run, team: Team, owner: User) -> None:
    label, client = label_on(team, "toxicity"), logged_in(owner)
    page = client.get(f"/labels/{label.pk}/").content.decode()
    principle = label.principle_version.principle_id
    assert f'<a href="/principles/{principle}/">toxicity, version 1</a>' in page
    assert f'href="/labels/?run={finished.pk}"' in client.get(f"/runs/{finished.pk}/").content.decode()
    assert "toxicity" in client.get(f"/labels/?run={finished.pk}").content.decode()


def test_labels_of_another_judge_wording_or_dataset_trained_nothing(finished: Run, team: Team) -> None:
    label = label_on(team, "toxicity")
    label.judge = "another@elsewhere"
    assert runs_of_label(label) == []
    label = label_on(team, "toxicity")
    label.principle_version.statement = "shorter?"
    assert runs_of_label(label) == []


def test_only_runs_whose_labels_changed_since_are_listed(finished: Run, team: Team, owner: User) -> None:
    assert runs_to_train_again(team=team) == []
    label = label_on(team, "toxicity")
    label_override(label=label, probability=0.125, by=owner)
    again, = runs_to_train_again(team=team)
    assert again.run == finished and again.principles == ["toxicity"]
    assert {stage.name for stage in again.to_run} == {"preference_model:toxicity", "weights", "ppo", "evaluate"}
    assert again.reused == finished.uses.count() - 4
    assert [row.run for row in runs_to_train_again(team=team, label=label)] == [finished]
    label_undo(label=label)
    assert runs_to_train_again(team=team) == [], "the labels are what they were"


def test_a_clone_starts_with_the_corrected_labels_once(finished: Run, team: Team, owner: User) -> None:
    label_override(label=label_on(team, "toxicity"), probability=0.125, by=owner)
    client = logged_in(owner)
    page = client.get(AGAIN).content.decode()
    assert finished.name in page and "preference_model:toxicity" in page
    answer = client.post(AGAIN, {"run": [str(finished.pk), "x", "999999"]}, follow=True)
    clone = Run.objects.of(team).exclude(pk=finished.pk).get()
    assert f"/runs/{clone.pk}/" in answer.content.decode() and clone.name != finished.name
    assert {use.name for use in clone.uses.filter(reused=False)} == {
        "preference_model:toxicity", "weights", "ppo", "evaluate"}
    assert clone.corrections["toxicity"] and not clone.corrections["conciseness"]
    for stage in Stage.objects.filter(uses__run=clone).exclude(status=Stage.Status.SUCCEEDED):
        complete(stage)
    assert "Nothing to train again" in client.get(AGAIN).content.decode(), "the clone has trained it"


def test_nothing_checked_starts_nothing(finished: Run, team: Team, owner: User) -> None:
    label_override(label=label_on(team, "toxicity"), probability=0.125, by=owner)
    answer = logged_in(owner).post(AGAIN, {}, follow=True)
    assert "check at least one" in answer.content.decode() and Run.objects.count() == 1


def test_another_team_sees_none_of_it(finished: Run, team: Team, owner: User, stranger_client: Client) -> None:
    label = label_on(team, "toxicity")
    label_override(label=label, probability=0.125, by=owner)
    assert "Nothing to train again" in stranger_client.get(AGAIN).content.decode()
    for query in (f"label={label.pk}", "label=", "label=x", "label=-1", "label=99999999999999999999"):
        assert stranger_client.get(f"{AGAIN}?{query}").status_code == 404
    stranger_client.post(AGAIN, {"run": str(finished.pk)})
    assert Run.objects.count() == 1


def test_the_label_page_runs_no_more_queries_with_more_runs(finished: Run, team: Team, owner: User) -> None:
    client, label = logged_in(owner), label_on(team, "toxicity")
    counts = []
    for _ in range(2):
        client.get(f"/labels/{label.pk}/")
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/labels/{label.pk}/")
        counts.append(len(queries))
        for _ in range(3):
            run_before("label", team, owner)
    assert counts[0] == counts[1]
