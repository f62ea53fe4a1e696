"""Labels are used by the judge that gave them and by no other, unless a person says that two are one."""

from __future__ import annotations

import importlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.webapp.labels.conftest import MakeLabel, MakePair, make_label, make_pair, version_of
from training.config import JudgeSettings, shipped_recipe
from training.judges.identity import judge_name
from training.run.artifacts import read_jsonl, write_jsonl
from webapp.accounts.models import Team, User
from webapp.judges import selectors
from webapp.judges.estimating import costs_of
from webapp.judges.identity import claim_labels, label_names, say_same_judge
from webapp.judges.models import Connection
from webapp.judges.services import connection_create, connection_edit
from webapp.labels.models import Label
from webapp.labels.services import label_override
from webapp.runs import stage_inputs
from webapp.runs.models import Run, RunStage, Stage

__all__ = ["make_label", "make_pair"]  # fixtures
ONE, TWO = (JudgeSettings(kind="openai", model="local-model", base_url=f"https://{host}.example/v1")
            for host in ("one", "two"))
OLD = "openai:local-model"


@pytest.fixture
def bought(team: Team, make_pair: MakePair, make_label: MakeLabel) -> list[Label]:
    """Three labels on factuality, bought at the first server."""
    pairs = [make_pair(team, question=f"Question {number}?") for number in range(3)]
    return [make_label(pair, judge=judge_name(ONE)) for pair in pairs]


def settings_of(judge: JudgeSettings, team: Team) -> dict[str, Any]:
    """A label stage's settings."""
    statement = version_of(team, "factuality").statement
    return {"judge": judge.model_dump(mode="json"), "principle": "factuality", "statement": statement, "seed": 0}


def known(judge: JudgeSettings, team: Team, folder: Path) -> int:
    return stage_inputs.write_known_labels(folder / "known.jsonl", team=team, stage_settings=settings_of(judge, team))


def test_another_server_with_the_same_model_is_asked_for_its_own(
        team: Team, bought: list[Label], tmp_path: Path) -> None:
    assert known(ONE, team, tmp_path) == 3
    assert known(TWO, team, tmp_path) == 0


def test_the_estimate_counts_only_labels_of_that_server(team: Team, bought: list[Label]) -> None:
    def had(judge: JudgeSettings) -> tuple[int, int]:
        recipe = shipped_recipe("demo")
        sample = recipe.sample.model_copy(update={"pairs": "dataset"})
        recipe = recipe.model_copy(update={"judge": judge, "sample": sample})
        costs = costs_of(team=team, recipe=recipe, dataset=None, to_label=["factuality"])
        assert costs is not None
        return costs.lines[0].known, costs.lines[0].estimate.calls

    (known_of_one, calls_of_one), (known_of_two, calls_of_two) = had(ONE), had(TWO)
    assert (known_of_one, known_of_two) == (3, 0)
    assert calls_of_two - calls_of_one == 3 * 2, "both orders of each"


def test_a_judge_that_moved_keeps_its_labels_where_a_person_says_so(
        team: Team, owner_client: Client, owner: User, bought: list[Label], tmp_path: Path) -> None:
    judge = connection_create(team=team, user=owner, name="Lab", kind="server", model="local-model",
                              base_url=ONE.base_url)
    fields = {"name": "Lab", "kind": "server", "model": "local-model", "base_url": TWO.base_url, "concurrency": "16",
              "requests_per_minute": "0", "tokens_per_minute": "0", "same_judge": "on"}

    page = owner_client.get(reverse("judges:edit", args=[judge.pk])).content.decode()
    assert "the same judge at a new address" in page
    assert owner_client.post(reverse("judges:edit", args=[judge.pk]), fields).status_code == 302

    assert known(TWO, team, tmp_path) == known(ONE, team, tmp_path) == 3
    assert {row["judge"] for row in read_jsonl(tmp_path / "known.jsonl")} == {judge_name(ONE)}, "bought where they were"
    assert selectors.connection_rows(team=team)[0].labels == 3
    assert selectors.lines_of(Connection.objects.get(pk=judge.pk))[0].n == 3


def test_without_the_tick_a_moved_judge_begins_anew(
        team: Team, owner: User, bought: list[Label], tmp_path: Path) -> None:
    judge = connection_create(team=team, user=owner, name="Lab", kind="server", model="local-model",
                              base_url=ONE.base_url)
    connection_edit(connection=judge, base_url=TWO.base_url)

    assert known(TWO, team, tmp_path) == 0


def test_another_model_is_never_the_same_judge(team: Team, owner: User, owner_client: Client) -> None:
    judge = connection_create(team=team, user=owner, name="Lab", kind="server", model="a", base_url=ONE.base_url)

    answer = owner_client.post(reverse("judges:edit", args=[judge.pk]), {
        "name": "Lab", "kind": "server", "model": "b", "base_url": TWO.base_url, "concurrency": "16",
        "requests_per_minute": "0", "tokens_per_minute": "0", "same_judge": "on"})

    assert "A different model is a different judge" in str(answer.context["form"].errors["model"])


def test_a_judge_that_moves_twice_keeps_all_and_another_team_gets_nothing(team: Team, other_team: Team) -> None:
    three = ONE.model_copy(update={"base_url": "https://three.example/v1"})
    for names in ((ONE, TWO), (TWO, three)):
        say_same_judge(team=team, names=(judge_name(names[0]), judge_name(names[1])))

    for judge in (ONE, TWO, three):
        assert set(label_names(team_id=team.pk, judge=judge)) == set(map(judge_name, (ONE, TWO, three)))
        assert label_names(team_id=team.pk, judge=judge)[0] == judge_name(judge)
        assert label_names(team_id=other_team.pk, judge=judge) == [judge_name(judge)]

    four = ONE.model_copy(update={"base_url": "https://four.example/v1"})
    say_same_judge(team=other_team, names=(judge_name(ONE), judge_name(four)))
    assert judge_name(four) not in label_names(team_id=team.pk, judge=ONE)


def test_of_two_labels_of_a_pair_the_one_of_the_address_asked_comes_first(
        team: Team, bought: list[Label], make_label: MakeLabel, tmp_path: Path) -> None:
    make_label(bought[0].pair, judge=judge_name(TWO), shown=0.1, swapped=0.1)
    say_same_judge(team=team, names=(judge_name(ONE), judge_name(TWO)))

    assert known(TWO, team, tmp_path) == 4
    rows = [row for row in read_jsonl(tmp_path / "known.jsonl") if row["pair"] == bought[0].pair.digest]
    assert [row["judge"] for row in rows] == [judge_name(TWO), judge_name(ONE)]


# Labels from before servers were noted -------------------------------------------------------------------------------


def stage_at(judge: JudgeSettings, team: Team, days_ago: float) -> Stage:
    """A label stage that asked this judge, and its run."""
    stage = Stage.objects.create(team=team, identity=f"{days_ago}{judge.base_url}", name="label:factuality",
                                 kind="label", principle="factuality", settings=settings_of(judge, team))
    run = Run.objects.create(team=team, name="r", recipe={})
    Run.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(days=days_ago))
    RunStage.objects.create(run=run, stage=stage, name=stage.name, position=0)
    return stage


def migrate() -> None:
    importlib.import_module("webapp.labels.migrations.0005_where_judges_are").place(apps, None)


@pytest.fixture
def old(bought: list[Label]) -> list[Label]:
    """The same labels, as they were stored before servers were noted; bought five days ago."""
    Label.objects.update(judge=OLD, created_at=timezone.now() - timedelta(days=5))
    return bought


def judges_of(labels: list[Label]) -> set[str]:
    return set(Label.objects.filter(pk__in=[label.pk for label in labels]).values_list("judge", flat=True))


def test_labels_get_the_only_server_that_was_asked(team: Team, old: list[Label]) -> None:
    stage_at(ONE, team, days_ago=6)
    migrate()
    assert judges_of(old) == {judge_name(ONE)}


def test_labels_from_before_a_second_server_was_asked_are_the_firsts(team: Team, old: list[Label]) -> None:
    stage_at(ONE, team, days_ago=6)
    stage_at(TWO, team, days_ago=1)
    migrate()
    assert judges_of(old) == {judge_name(ONE)}


def test_labels_that_may_be_either_servers_stay_nobodys(team: Team, old: list[Label], tmp_path: Path) -> None:
    stage_at(ONE, team, days_ago=7)
    stage_at(TWO, team, days_ago=6)
    migrate()
    assert judges_of(old) == {OLD}
    assert known(ONE, team, tmp_path) == known(TWO, team, tmp_path) == 0


def test_labels_of_another_team_or_wording_or_question_are_left_alone(
        team: Team, other_team: Team, old: list[Label], make_label: MakeLabel) -> None:
    other_wording = make_label(old[0].pair, "toxicity", judge=OLD)
    other_question = make_label(old[0].pair, judge=OLD, prompt_version="1.think")
    stage_at(ONE, team, days_ago=6)
    stage_at(TWO, other_team, days_ago=9)
    migrate()
    assert judges_of([other_wording, other_question]) == {OLD} and judges_of(old) == {judge_name(ONE)}


def test_a_person_may_say_whose_they_are_and_then_nobody_else_gets_them(
        team: Team, owner: User, owner_client: Client, old: list[Label], tmp_path: Path) -> None:
    first, second = (connection_create(team=team, user=owner, name=name, kind="server", model="local-model",
                                       base_url=judge.base_url) for name, judge in (("1", ONE), ("2", TWO)))
    assert "3 labels of local-model have no server" in owner_client.get(
        reverse("judges:detail", args=[first.pk])).content.decode()

    assert owner_client.post(reverse("judges:claim", args=[first.pk])).status_code == 302

    assert (known(ONE, team, tmp_path), known(TWO, team, tmp_path)) == (3, 0)
    assert claim_labels(second) == 0
    assert "have no server" not in owner_client.get(reverse("judges:detail", args=[second.pk])).content.decode()


@pytest.mark.parametrize("asked", [ONE, TWO])
def test_what_people_corrected_stays_corrected_in_runs_of_before(
        asked: JudgeSettings, team: Team, owner: User, old: list[Label], tmp_path: Path) -> None:
    """The second server's run took the labels that the first had been paid for: its file names the model alone."""
    label_override(label=old[0], by=owner, probability=0.05)
    write_jsonl(tmp_path / "labels.jsonl", [{"pair": label.pair.digest, "judge": OLD} for label in old])
    stage_at(ONE, team, days_ago=6)
    stage_at(TWO, team, days_ago=1)
    migrate()

    known = stage_inputs.corrections_of(team=team, label_settings=settings_of(asked, team),
                                         labels=tmp_path / "labels.jsonl")

    assert known == {old[0].pair.digest: 0.05}


def test_a_correction_of_one_servers_label_is_none_of_the_others(
        team: Team, owner: User, bought: list[Label], make_label: MakeLabel, tmp_path: Path) -> None:
    other = make_label(bought[0].pair, judge=judge_name(TWO))
    label_override(label=other, by=owner, probability=0.05)
    write_jsonl(tmp_path / "labels.jsonl", [{"pair": label.pair.digest, "judge": judge_name(ONE)} for label in bought])

    assert stage_inputs.corrections_of(team=team, label_settings=settings_of(ONE, team),
                                  labels=tmp_path / "labels.jsonl") == {}
