"""A local judge's first label stage makes the labels of its run's other principles; the database knows whose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.conftest import complete, run_before, stage_of
from training.config import read_exactly
from training.judges.judge import Verdict, as_label
from training.run.artifacts import read_json, read_jsonl
from training.run.reporting import EventFile
from webapp.accounts.models import Team, User
from webapp.labels.models import Label
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from workers.leases import claim
from workers.preparing import prepare
from workers.recording import Recorder

pytestmark = pytest.mark.django_db(transaction=True)

S = Stage.Status
LOCAL: dict[str, Any] = {"judge": {"kind": "local", "model": "demo-world", "layout": "shared_prefix", "max_pairs": 20}}
SURE = Verdict(0.75, 0.75, 0.75, 0.0, "", 10, "m", 10, 2, 99)
FAILED = Verdict(None, None, None, None, "unreadable: no letter", 10, "m", 10, 2, 99)


def run_to_label(team: Team, owner: User, **changes: Any) -> tuple[Run, Stage, Stage]:
    run = run_before("label", team, owner, **LOCAL | changes)
    return run, stage_of(run, "label:toxicity"), stage_of(run, "label:conciseness")


def record(stage: Stage, run: Run, sibling: Verdict, statement: str) -> None:
    """What the stage's process would write of its first pair, recorded."""
    pairs = stage_of(run, "sample").folder / "pairs.jsonl"
    digest = next(read_jsonl(pairs))["digest"]
    settings = read_exactly(run.recipe).judge
    stream = EventFile(stage.folder / "events.jsonl")
    stream.sibling_label({**as_label(digest, "conciseness", sibling, settings), "statement": statement})
    stream.label(as_label(digest, "toxicity", SURE, settings))
    stream.close()
    claimed = claim(stage.pk)
    assert claimed is not None and Recorder(claimed, claimed.lease_token, pairs).record_new()


def test_siblings_wait_until_the_first_has_asked_for_all(team: Team, owner: User) -> None:
    run, first, second = run_to_label(team, owner)
    assert (first.status, second.status) == (S.QUEUED, S.WAITING)
    complete(first)
    advance(run=run)
    assert stage_of(run, "label:conciseness").status == S.QUEUED


def test_a_judge_on_a_server_is_asked_by_all_stages_at_once(team: Team, owner: User) -> None:
    _, first, second = run_to_label(team, owner, judge={"kind": "rule"})
    assert (first.status, second.status) == (S.QUEUED, S.QUEUED)


def test_a_siblings_label_is_stored_under_its_own_wording_and_known_to_its_stage(team: Team, owner: User) -> None:
    run, first, second = run_to_label(team, owner)
    prepared = prepare(first)
    assert prepared is not None
    statement = second.settings["statement"]
    assert read_json(first.folder / "job.json")["runtime"]["siblings"] == {"conciseness": statement}

    record(first, run, SURE, statement)

    labels = {label.principle_version.principle.name: label for label in Label.objects.of(team)}
    assert set(labels) == {"toxicity", "conciseness"}
    assert labels["conciseness"].principle_version.statement == statement
    assert (labels["conciseness"].judge, labels["conciseness"].prompt_version) == (
        "local:demo-world", "1.shared.begun")
    complete(first)
    advance(run=run)
    assert prepare(second) is not None
    known = list(read_jsonl(second.folder / "files" / "known_labels.jsonl"))
    assert {row["principle"] for row in known} == {"toxicity", "conciseness"}
    assert [row["probability"] for row in known if row["principle"] == "conciseness"] == [0.75]


def test_a_label_of_a_wording_that_the_run_no_longer_has_is_not_taken_for_another(team: Team, owner: User) -> None:
    run, first, second = run_to_label(team, owner)
    prepare(first)
    record(first, run, SURE, "of fewer words")
    stored = Label.objects.of(team).get(principle_version__principle__name="conciseness")
    assert stored.principle_version.statement == "of fewer words"
    assert prepare(second) is not None
    known = list(read_jsonl(second.folder / "files" / "known_labels.jsonl"))
    assert {row["principle"] for row in known} == {"toxicity"}


def test_a_siblings_error_is_asked_again_by_its_own_stage_alone(team: Team, owner: User) -> None:
    run, first, second = run_to_label(team, owner)
    prepare(first)
    record(first, run, FAILED, second.settings["statement"])
    prepare(first)  # as after a crash
    known = list(read_jsonl(first.folder / "files" / "known_labels.jsonl"))
    assert {(row["principle"], row["probability"]) for row in known} == {("toxicity", 0.75), ("conciseness", None)}
    prepare(second)
    known = list(read_jsonl(second.folder / "files" / "known_labels.jsonl"))
    assert {row["principle"] for row in known} == {"toxicity"}
