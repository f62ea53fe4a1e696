"""A batch of labels costs the same whether the team has a hundred labels or a million."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.workers.conftest import run_before, stage_of
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair, PairText
from workers.labels import LabelRecorder, record_pairs

pytestmark = pytest.mark.django_db


def event(digest: str) -> dict[str, object]:
    return {"pair": digest, "principle": "toxicity", "probability": 0.9, "p_shown": 0.9, "p_swapped": 0.9,
            "judge": "rule", "prompt_version": "1", "model": "", "error": "", "tokens": 0}


def plan_of(query: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        return " ".join(str(row[-1]) for row in cursor.fetchall())


def test_a_batch_is_found_by_its_pairs_and_reads_no_other_row(team: Team, owner: User) -> None:
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    digests = [f"{number:032d}" for number in range(300)]
    record_pairs(team_id=team.pk, dataset=None, rows=[
        {"digest": digest, "prompt": [{"role": "user", "content": digest}], "a": "Yes.", "b": "No."}
        for digest in digests])
    recorder = LabelRecorder(stage, None)

    with CaptureQueriesContext(connection) as asked:
        recorder.record([event(digest) for digest in digests])

    looks = [query["sql"] for query in asked if query["sql"].startswith("SELECT")
             and ('FROM "labels_label"' in query["sql"] or 'FROM "labels_pair"' in query["sql"])]
    assert len(looks) == 2
    if connection.vendor == "sqlite":  # PostgreSQL has statistics, and reads a table of one page whole
        assert all("(digest=?)" in plan or "(pair_id=?)" in plan for plan in map(plan_of, looks))
    assert Label.objects.count() == 300 == Pair.objects.of(team).filter(digest__in=digests).count()


def test_characters_that_no_database_holds_are_replaced_in_what_machines_wrote(team: Team, owner: User) -> None:
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    record_pairs(team_id=team.pk, dataset=None, rows=[
        {"digest": "d" * 32, "prompt": [{"role": "user", "content": "Wh\x00y \ud83d?"}], "a": "Yes\x00.",
         "b": "No\ud83d."}])

    LabelRecorder(stage, None).record([event("d" * 32) | {"model": "m\x00", "error": "cut \ud83d"}])

    text = PairText.objects.get(pair__digest="d" * 32)
    assert text.prompt == [{"role": "user", "content": "Wh\ufffdy \ufffd?"}]
    assert (text.response_a, text.response_b) == ("Yes\ufffd.", "No\ufffd.")
    label = Label.objects.get()
    assert (label.model, label.error) == ("m\ufffd", "cut \ufffd")


def test_a_label_that_was_written_before_servers_were_noted_is_its_stages_judges(team: Team, owner: User) -> None:
    judge = {"kind": "openai", "model": "m", "base_url": "https://one.example/v1"}
    stage = stage_of(run_before("label", team, owner, judge=judge), "label:toxicity")
    record_pairs(team_id=team.pk, dataset=None, rows=[
        {"digest": "d" * 32, "prompt": [{"role": "user", "content": "Why?"}], "a": "Yes.", "b": "No."}])

    LabelRecorder(stage, None).record([event("d" * 32) | {"judge": "openai:m"}])

    assert Label.objects.get().judge == "openai:m@https://one.example/v1"


def test_a_measure_that_came_with_a_recipe_is_the_measure_of_the_new_version(team: Team, owner: User) -> None:
    judge = {"kind": "measure", "measure": {"kind": "words", "toward": "low", "softness": 0.0}}
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    stage.settings |= {"judge": judge, "statement": "lower in words"}
    record_pair(team, "d" * 32)

    LabelRecorder(stage, None).record([event("d" * 32) | {"judge": "measure:words"}])

    version = Label.objects.select_related("principle_version").get().principle_version
    assert (version.number, version.measured_as) == (2, "words, lower is better")
    assert version.measure == {"kind": "words", "toward": "low"}, "as a page would have stored it"


def record_pair(team: Team, digest: str) -> Pair:
    record_pairs(team_id=team.pk, dataset=None, rows=[
        {"digest": digest, "prompt": [{"role": "user", "content": "Why?"}], "a": "Yes.", "b": "No."}])
    return Pair.objects.of(team).get(digest=digest)


def test_teams_that_have_the_same_pair_label_each_their_own(
        team: Team, other_team: Team, owner: User, stranger: User) -> None:
    stages = {team: stage_of(run_before("label", team, owner), "label:toxicity"),
              other_team: stage_of(run_before("label", other_team, stranger), "label:toxicity")}
    pairs = {whose: record_pair(whose, "d" * 32) for whose in stages}

    for stage in stages.values():
        LabelRecorder(stage, None).record([event("d" * 32)])

    assert Label.objects.count() == 2
    for whose, pair in pairs.items():
        assert [label.pair for label in Label.objects.of(whose)] == [pair]


def test_a_label_that_comes_again_stays_as_it_was_bought(team: Team, owner: User) -> None:
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    record_pair(team, "d" * 32)
    recorder = LabelRecorder(stage, None)

    recorder.record([event("d" * 32)])
    recorder.record([event("d" * 32) | {"probability": 0.2, "tokens": 7}])

    label = Label.objects.get()
    assert (label.probability, label.tokens) == (0.9, 0)


@pytest.mark.parametrize("prompt_version", ["", "1", "2-thinking"])
def test_an_error_is_replaced_by_the_answer_that_comes_later(team: Team, owner: User, prompt_version: str) -> None:
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    record_pair(team, "d" * 32)
    answer = event("d" * 32) | {"prompt_version": prompt_version}
    recorder = LabelRecorder(stage, None)

    recorder.record([answer | {"probability": None, "p_shown": None, "p_swapped": None, "error": "HTTP 500"}])
    recorder.record([answer])

    label = Label.objects.get()
    assert (label.probability, label.error, label.prompt_version) == (0.9, "", prompt_version)


def test_an_error_of_one_question_is_not_replaced_by_the_answer_to_another(team: Team, owner: User) -> None:
    stage = stage_of(run_before("label", team, owner), "label:toxicity")
    record_pair(team, "d" * 32)
    recorder = LabelRecorder(stage, None)

    recorder.record([event("d" * 32) | {"probability": None, "error": "HTTP 500"}])
    recorder.record([event("d" * 32) | {"prompt_version": "2"}])

    assert dict(Label.objects.values_list("prompt_version", "probability")) == {"1": None, "2": 0.9}
