"""Answers that belong to the prompt: kept from the data, compared with by every measure, refused where missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.stage_folders import events, job, pair, run
from tests.training.tiny_models import Remembering, make_base, make_recipe
from training.config import JudgeSettings, Recipe, as_yaml, check_recipe, parse_recipe
from training.data.data_files import files_from_rows, prepare
from training.data.reading import preview_file, read_rows
from training.data.row import Row
from training.data.rows import BadRow, recognise, to_row
from training.dialogue import Dialogue
from training.errors import BadData, BadSettings, MeasureFailed
from training.judges.identity import judge_name
from training.judges.measure_judge import measured_verdicts
from training.measures import make_measure
from training.measures.reference import number, similarity
from training.measures.scale import Scale
from training.reward.measured import Gauges, MeasuredScores
from training.run.artifacts import digest_of, read_json, read_jsonl
from training.run.jobs import runtime_of
from training.run.pipeline import identities, measuring_judges, plan
from training.run.references import References
from training.stages import label, weights
from training.stages.before_and_after import means_of_measures

NUMBER = {"kind": "number", "answer_from": "data"}
CORRECT = {"name": "correct", "measure": NUMBER, "serves": "reward"}
DIGESTS: Any = {"prompts": "p", "held_out": "h", "pairs": "x", "dialogues": "d", "references": "r"}


def asked(text: str) -> Dialogue:
    return [{"role": "user", "content": text}]


SUM, PRODUCT, CHAT = asked("What is 2 + 3?"), asked("What is 4 times 6?"), asked("How are you?")
REFERENCES = [{"prompt": digest_of(SUM), "reference": "2 + 3 = 5\n#### 5"},
              {"prompt": digest_of(PRODUCT), "reference": "24"}]


def measure_of(**settings: Any) -> Any:
    recipe = check_recipe({"principles": [{"name": "correct", "measure": settings}]})
    [choice] = recipe.principles
    assert choice.measure is not None
    return make_measure(choice.measure, References(REFERENCES))


# Numbers by hand ------------------------------------------------------------------------------------------------------


def test_each_response_is_compared_with_the_answer_to_its_own_prompt() -> None:
    solved = measure_of(**NUMBER)
    assert [solved(SUM, "It is 5."), solved(SUM, "24"), solved(PRODUCT, "24"), solved(PRODUCT, "5")] == [1, 0, 1, 0]
    near = measure_of(**NUMBER, tolerance=1)
    assert [near(PRODUCT, "23"), near(PRODUCT, "22")] == [1, 0]
    exact = measure_of(kind="exact", answer_from="data")
    assert [exact(PRODUCT, " 24. "), exact(PRODUCT, "It is 24"), exact(SUM, "5")] == [1, 0, 0]
    similar = measure_of(kind="similarity", answer_from="data")
    assert similar(PRODUCT, "24") == 1.0
    assert similar(PRODUCT, "2456") == pytest.approx(1 - 2 / 6)  # two of the six characters of both are added


def test_a_prompt_without_an_answer_has_no_number() -> None:
    with pytest.raises(MeasureFailed, match=r"The data has no reference answer for the prompt 'How are you\?'\. Add"):
        measure_of(**NUMBER)(CHAT, "5")
    worded = make_measure(check_recipe({"principles": [CORRECT]}).principles[0].measure,  # type: ignore[arg-type]
                          lambda prompt: "five")
    with pytest.raises(MeasureFailed, match="The reference answer 'five' holds no number"):
        worded(SUM, "5")


# In a recipe ----------------------------------------------------------------------------------------------------------


def test_it_is_written_and_read_back_and_an_answer_for_all_is_written_as_before() -> None:
    recipe = check_recipe({"principles": [CORRECT, {"name": "polite", "measure": {"kind": "exact", "answer": "yes"}}]})
    assert parse_recipe(as_yaml(recipe)) == recipe and recipe.referenced == ("correct",)
    correct, polite = (judge["measure"] for judge in measuring_judges(recipe).values())
    assert correct == {"kind": "number", "toward": "high", "softness": 0.0, "answer_from": "data", "tolerance": 0.0}
    assert polite == {"kind": "exact", "toward": "high", "softness": 0.0, "answer": "yes"}


@pytest.mark.parametrize(("measure", "name"), [
    ({"kind": "exact", "answer": "yes"}, "measure:exact#002b49726030b606"),
    ({"kind": "number", "answer": 42}, "measure:number#84693427756b43ed"),
    ({"kind": "similarity", "reference": "Take two eggs."}, "measure:similarity#21627f0dc463593c")])
def test_labels_by_one_answer_keep_the_judge_that_they_were_stored_under(measure: dict[str, Any], name: str) -> None:
    """Recorded before answers could come from the data."""
    assert judge_name(JudgeSettings.model_validate({"kind": "measure", "measure": measure})) == name


@pytest.mark.parametrize(("measure", "words"), [
    ({"kind": "number"}, "needs 'answer', one for all prompts, or 'answer_from: data'"),
    ({"kind": "similarity"}, "needs 'reference', one for all prompts, or 'answer_from: data'"),
    ({"kind": "exact", "answer": "yes", "answer_from": "data"}, "has 'answer_from: data' and 'answer' too; remove one"),
    ({"kind": "words", "answer_from": "data"}, "is not a setting"),
])
def test_settings_that_name_no_answer_or_two_are_refused(measure: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        check_recipe({"principles": [{"name": "correct", "measure": measure}]})


def test_only_the_stages_that_measure_by_answers_depend_on_them() -> None:
    judged = {"name": "toxicity"}
    recipe = check_recipe({"principles": [judged, {"name": "correct", "measure": NUMBER}],
                           "evaluate": {"best_of": 2}})
    readers = {stage.name for stage in plan(recipe) if "references" in stage.files}
    assert readers == {"label:correct", "evaluate"}
    as_reward = check_recipe({"principles": [judged, CORRECT]})
    readers = {stage.name for stage in plan(as_reward) if "references" in stage.files}
    assert readers == {"weights", "ppo", "evaluate"}
    as_gauge = check_recipe({"principles": [judged, CORRECT | {"serves": "gauge"}]})
    assert {stage.name for stage in plan(as_gauge) if "references" in stage.files} == {"ppo", "evaluate"}
    before, after = (identities(plan(as_reward), DIGESTS | {"references": digest}) for digest in ("r", "other"))
    assert {name for name in before if before[name] != after[name]} == {"weights", "ppo", "evaluate"}
    files = {role: Path(f"{role}.jsonl") for role in DIGESTS}
    assert set(runtime_of(as_reward, files=files)["preflight"]["files"]) == {"prompts", "held_out"}  # texts for models


def test_the_recipe_of_the_guide_can_be_used() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "measures.md").read_text(encoding="utf-8")
    recipe = parse_recipe(guide.split("## Answers that belong to the prompt")[1].split("```yaml\n")[1].split("```")[0])
    assert recipe.referenced == ("correct",) and recipe.data.columns["reference"] == "answer"


# From the data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("record", "columns", "expected"), [
    ({"prompt": "p", "ground_truth": 5}, {}, Row(asked("p"), reference="5")),
    ({"prompt": "p", "reference_answer": " five "}, {}, Row(asked("p"), reference="five")),
    ({"prompt": "p", "response": "r", "answer": "a"}, {}, Row(asked("p"), "r", reference="a")),
    ({"question": "p", "answer": "#### 5"}, {}, Row(asked("p"), "#### 5")),  # as ever: a response
    ({"question": "p", "answer": "#### 5"}, {"prompt": "question", "reference": "answer"},
     Row(asked("p"), reference="#### 5")),
    ({"question": "p", "answer": "5"}, {"reference": "answer", "response": "answer"},
     Row(asked("p"), "5", reference="5")),
    ({"prompt": "p", "response_a": "a", "response_b": "b", "key": "k"}, {"reference": "key"},
     Row(asked("p"), "a", "b", True, reference="k")),
    ({"prompt": "p", "chosen": "a", "rejected": "b", "solution": "s"}, {}, Row(asked("p"), "a", "b", reference="s")),
    ({"prompt": "p", "solution": "s"}, {"reference": ""}, Row(asked("p"))),
    ({"prompt": "p", "target": ["a", "b"]}, {}, Row(asked("p"))),
    ({"prompt": "p", "target": True}, {}, Row(asked("p"))),
    ({"prompt": "p", "reference": "  "}, {}, Row(asked("p"))),
    ({"prompt": "p", "target": "x" * 20_001}, {}, Row(asked("p"))),
])
def test_a_row_keeps_its_reference_answer(record: dict[str, Any], columns: dict[str, str], expected: Row) -> None:
    assert to_row(record, recognise(list(record), [record], columns)) == expected


def jsonl(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_answer_that_cannot_be_kept_makes_its_row_a_bad_one(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"prompt": "p", "key": "5"}, {"prompt": "p", "key": {"a": 1}},
                 {"prompt": "p", "key": "x" * 20_001}, {"prompt": "p", "key": None})
    good, listed, long, without = read_rows(path, path.name, {"reference": "key"})
    assert good == Row(asked("p"), reference="5") and without == Row(asked("p"))
    assert isinstance(listed, BadRow) and "column 'key' is an object, not a reference answer in text" in listed.reason
    assert isinstance(long, BadRow) and "has 20,001 characters; at most 20,000 are kept" in long.reason


def test_a_late_column_does_not_make_rows_without_an_answer_bad(tmp_path: Path) -> None:
    """A column that appears after the first 200 rows is looked at on its own, beside what is known of the others."""
    path = jsonl(tmp_path, *({"prompt": f"p{n}", "target": "t"} for n in range(200)), {"prompt": "late", "text": "x"})
    assert list(read_rows(path, path.name))[-1] == Row(asked("late"))


def test_a_preview_names_the_column(tmp_path: Path) -> None:
    with jsonl(tmp_path, {"prompt": "p", "ground_truth": "5", "level": 2}).open("rb") as file:
        shown = preview_file(file, "sums.jsonl")
    assert shown.format is not None and shown.format.columns == {"prompt": "prompt", "reference": "ground_truth"}
    assert shown.unused == ["level"]


def test_a_run_has_the_answers_in_a_file_of_their_own(tmp_path: Path) -> None:
    """So the files that labels and samples are made from are the same with and without answers."""
    data = check_recipe({"principles": [CORRECT], "data": {"held_out": 2}}).data
    rows = [Row(asked(f"{n}?"), "yes", "no", reference=f"{n}" if n % 2 else None) for n in range(10)]
    rows.append(Row(asked("1?"), reference="another"))
    made = files_from_rows(rows, data, tmp_path / "with")
    plain = files_from_rows([row._replace(reference=None) for row in rows], data, tmp_path / "without")
    assert made.keys() - plain.keys() == {"references"}
    for role in plain:
        assert made[role].read_bytes() == plain[role].read_bytes()
    answers = References(read_jsonl(made["references"]))
    assert [answers(asked(f"{n}?")) for n in range(4)] == [None, "1", None, "3"]  # the first one of two


@pytest.mark.parametrize(("answered", "words"), [
    (0, "has 'answer_from: data', which needs reference answers; the data holds none"),
    (4, "the data has one for 4 of 10 prompts"), (5, "")])
def test_data_with_an_answer_to_fewer_than_half_of_its_prompts_is_refused(
        tmp_path: Path, answered: int, words: str) -> None:
    path = jsonl(tmp_path, *({"prompt": f"{n}?", "target": n if n < answered else None} for n in range(10)))
    recipe = check_recipe({"principles": [CORRECT], "data": {"source": str(path), "held_out": 2}})
    if not words:
        assert "references" in prepare(recipe, tmp_path / "out")
        return
    with pytest.raises(BadData, match=words) as refused:
        prepare(recipe, tmp_path / "out")
    assert "The measure of correct " in refused.value.cause and "'data.columns'" in refused.value.remedy


def test_the_demo_world_has_no_answers(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="the data holds none"):
        prepare(check_recipe({"principles": [CORRECT], "data": {"limit": 20, "held_out": 4}}), tmp_path)


# Where measures are asked ---------------------------------------------------------------------------------------------


def of_prompt(prompt: Dialogue, number: int, a: str, b: str) -> dict[str, Any]:
    return pair(number, a, b) | {"prompt": prompt}


PAIRS = [of_prompt(SUM, 0, "5", "6"), of_prompt(PRODUCT, 1, "5", "24"), of_prompt(CHAT, 2, "5", "24")]


def test_labels_choose_the_right_answer_and_leave_out_prompts_without_one(tmp_path: Path) -> None:
    recipe = check_recipe({"principles": [{"name": "correct", "measure": NUMBER}]})
    settings = {"judge": measuring_judges(recipe)["correct"], "principle": "correct", "statement": "", "seed": 0}
    run(label.run, job("label", tmp_path, settings, pairs=PAIRS, references=REFERENCES), tmp_path)
    rows = {row["pair"]: row for row in read_jsonl(tmp_path / "labels.jsonl")}
    assert [rows[pair["digest"]]["probability"] for pair in PAIRS] == [1.0, 0.0, None]
    assert "has no reference answer for the prompt 'How are you?'" in rows[PAIRS[2]["digest"]]["error"]


def test_the_scale_of_a_reward_is_that_of_the_pairs_with_answers(tmp_path: Path) -> None:
    """1, 0, 0 and 1: a mean of 1/2, a deviation of 1/2."""
    settings = {"weights": {"mode": "set"}, "given": {"correct": 1.0}, "measured_rewards": {"correct": NUMBER}}
    run(weights.run, job("weights", tmp_path, settings, pairs=PAIRS, references=REFERENCES), tmp_path)
    assert read_json(tmp_path / "weights.json")["scales"] == {"correct": {"mean": 0.5, "std": 0.5}}
    [warning] = events(tmp_path, "warning")
    assert "has no reference answer" in warning["message"] and "left out of the scale" in warning["message"]


def test_rewards_gauges_and_the_evaluation_read_them() -> None:
    answers, reporter = References(REFERENCES), Remembering()
    prompts, responses = [SUM, PRODUCT, CHAT], ["5", "5", "5"]
    scores = MeasuredScores({"correct": NUMBER}, {"correct": Scale(0.25, 0.5)}, reporter, answers)
    assert scores.score_raw(prompts, responses).tolist() == [[1.0], [0.0], [0.25]]  # no number counts as the mean
    assert Gauges({"correct": NUMBER}, reporter, answers).metrics(prompts, responses) == {"gauge/correct": 0.5}
    assert reporter.warnings == ["measure_failed", "measure_failed"]
    means = means_of_measures({"correct": NUMBER}, prompts, ["5", "24", "5"], responses, answers)["correct"]
    assert (means["n"], means["policy"]["mean"], means["base"]["mean"]) == (2, 1.0, 0.5)
    judges = measuring_judges(check_recipe({"principles": [CORRECT]}))
    verdicts = measured_verdicts(judges, prompts, ["5", "24", "5"], ["5", "5", "5"], answers)["correct"]
    assert [verdict.probability for verdict in verdicts] == [0.5, 1.0, None]


def test_scores_without_data_count_as_the_mean() -> None:
    scores = MeasuredScores({"correct": NUMBER}, {"correct": Scale(0.25, 0.5)})
    assert scores.score_raw([SUM], ["5"]).tolist() == [[0.25]]


# A whole run ----------------------------------------------------------------------------------------------------------


def recipe_on(source: Path) -> Recipe:
    """On the tiny base, which knows no digits: how near an answer comes is rewarded, whether it is right is watched."""
    return make_recipe(Path("tiny"), principles=[
        {"name": "correct", "measure": {"kind": "similarity", "answer_from": "data"}, "serves": "reward"},
        {"name": "solved", "measure": NUMBER, "serves": "gauge"}],
        data={"source": str(source), "held_out": 4, "columns": {"prompt": "question", "reference": "answer"}},
        sample={"count": 20, "max_new_tokens": 5}, ppo={"steps": 1})


def test_the_command_line_rewards_the_answers_of_a_file_of_sums(tmp_path: Path) -> None:
    make_base(tmp_path / "models" / "tiny")
    sums = {f"What is {a} + {b}?": f"{a} + {b} = {a + b}\n#### {a + b}" for a in range(2, 7) for b in range(3, 8)}
    path = jsonl(tmp_path, *({"question": question, "answer": answer} for question, answer in sums.items()))
    (tmp_path / "recipe.yaml").write_text(as_yaml(recipe_on(path)))
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"),
         "--models", str(tmp_path / "models")], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {name: tmp_path / "out" / folder for name, folder in read_json(tmp_path / "out" / "stages.json").items()}
    assert set(folders) == {"sample", "weights", "ppo", "evaluate"}  # no judge, no label, no preference model
    pairs = list(read_jsonl(folders["sample"] / "pairs.jsonl"))
    values = [similarity(row[side], sums[row["prompt"][0]["content"]], "characters")
              for row in pairs for side in ("a", "b")]
    scale = read_json(folders["weights"] / "weights.json")["scales"]["correct"]
    assert scale["mean"] == pytest.approx(sum(values) / len(values))
    report = read_json(folders["evaluate"] / "report.json")
    answers = list(read_jsonl(folders["evaluate"] / "answers.jsonl"))
    assert len(answers) == report["measures"]["solved"]["n"] == 4
    for side in ("policy", "base"):
        solved = [number(row[side], float(sums[row["prompt"][0]["content"]].split()[-1]), 0) for row in answers]
        near = [similarity(row[side], sums[row["prompt"][0]["content"]], "characters") for row in answers]
        assert report["measures"]["solved"][side]["mean"] == pytest.approx(sum(solved) / 4)
        assert report["measures"]["correct"][side]["mean"] == pytest.approx(sum(near) / 4)
