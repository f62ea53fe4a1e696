"""A run that measures by the reference answers of its dataset: refused where there are none, given their file, and its
labels follow the answers."""

from __future__ import annotations

import pytest

from tests.webapp.datasets.files import imported, jsonl
from training.config import Recipe, check_recipe
from training.errors import BadData
from training.run.artifacts import digest_of, read_jsonl
from training.run.jobs import read_job
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset
from webapp.labels.models import Label
from webapp.runs.services import preview, run_create
from webapp.runs.stage_inputs import write_known_labels
from workers.labels import LabelRecorder, record_pairs
from workers.preparing import prepare


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


def dataset_of(team: Team, owner: User, answered: int = 10, plus: int = 0) -> Dataset:
    return imported(team, owner, jsonl(*(
        {"prompt": f"What is {n} + 3?", "chosen": f"{n + 3}", "rejected": f"{n}",
         "reference": n + 3 + plus if n < answered else None} for n in range(10))))


def recipe_on(dataset: Dataset | None, serves: str = "labels") -> Recipe:
    source = f"datasets/{dataset.pk}-data.jsonl" if dataset else "demo-world"
    return check_recipe({
        "principles": [{"name": "correct", "measure": {"kind": "number", "answer_from": "data"}, "serves": serves}],
        "sample": {"pairs": "dataset" if dataset else "sampled"}, "data": {"source": source, "held_out": 2}})


def test_its_stages_are_given_the_answers(team: Team, owner: User) -> None:
    dataset = dataset_of(team, owner)
    run = run_create(team=team, user=owner, recipe=recipe_on(dataset, "reward"), dataset=dataset)
    first = run.stages.get(name="weights")
    assert prepare(first) is not None
    answers = {row["prompt"]: row["reference"] for row in read_jsonl(read_job(first.folder).files["references"])}
    assert answers == {digest_of([{"role": "user", "content": f"What is {n} + 3?"}]): f"{n + 3}" for n in range(10)}


@pytest.mark.parametrize(("answered", "words"), [
    (0, "The measure of correct has 'answer_from: data', which needs reference answers; the data holds none"),
    (4, "the data has one for 4 of 10 rows")])
def test_data_without_them_is_refused_when_the_run_is_started(
        team: Team, owner: User, answered: int, words: str) -> None:
    dataset = dataset_of(team, owner, answered)
    with pytest.raises(BadData, match=words):
        run_create(team=team, user=owner, recipe=recipe_on(dataset), dataset=dataset)
    with pytest.raises(BadData, match="the demo world has only prompts, no reference answers"):
        run_create(team=team, user=owner, recipe=recipe_on(None), dataset=None)


def test_other_answers_are_other_labels(team: Team, owner: User) -> None:
    """And the stages that read none are found again: here the preference model is trained anew, as its labels are."""
    before, after = ({stage.name: stage.identity for stage in preview(
        team=team, recipe=recipe_on(data), dataset=data)} for data in (
            dataset_of(team, owner), dataset_of(team, owner, plus=1)))
    assert before["label:correct"] != after["label:correct"]


def test_labels_by_other_answers_are_measured_again_and_replace_the_stored_ones(team: Team, owner: User) -> None:
    dataset = dataset_of(team, owner)
    run = run_create(team=team, user=owner, recipe=recipe_on(dataset), dataset=dataset)
    stage = run.stages.get(name="label:correct")
    record_pairs(team_id=team.pk, dataset=None, rows=[
        {"digest": "d" * 32, "prompt": [{"role": "user", "content": "What is 1 + 3?"}], "a": "4", "b": "5"}])
    measured = {"pair": "d" * 32, "principle": "correct", "p_shown": 1.0, "p_swapped": 1.0, "judge": "measure:number#1",
                "prompt_version": "1", "model": "number", "error": "", "tokens": 0}
    LabelRecorder(stage, None).record([measured | {"probability": 1.0}])
    assert write_known_labels(stage.folder / "known.jsonl", team=team, stage_settings=stage.settings) == 0
    LabelRecorder(stage, None).record([measured | {"probability": 0.0}])
    assert [label.probability for label in Label.objects.all()] == [0.0]
