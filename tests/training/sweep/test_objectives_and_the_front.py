"""What a finished run counts for, and the page that shows it: from files written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.config import Recipe, check_recipe
from training.errors import BadSettings
from training.run.artifacts import read_json, write_json, write_jsonl
from training.sweep.objectives import Measured, Objective, measured, objectives_of, sample_of
from training.sweep.results import Result, write_results
from training.sweep.sweep_file import ObjectiveChoice
from training.sweep.sweep_plan import SweepRun

DETAIL, SHORT = Objective("detail", "higher", 0.0), Objective("conciseness", "higher", 0.0)
KL = Objective("kl", "lower", 8.0)


def recipe(**changes: Any) -> Recipe:
    return check_recipe({"name": "Two", "principles": [{"name": "detail"}, {"name": "conciseness"}], **changes})


def rate(value: float) -> dict[str, float]:
    return {"win_rate": value, "low": value - 0.1, "high": value + 0.1, "n": 4, "wins": 0, "ties": 0, "losses": 0}


def finished(folder: Path, detail: list[float | None], short: list[float | None], kl: float = 2.0,
             prompts: str = "q", has_verdicts: bool = True) -> dict[str, Path]:
    """The folders of a run whose policy has these outcomes, prompt by prompt."""
    def mean(column: list[float | None]) -> float:
        return float(np.mean([value for value in column if value is not None]))
    write_json(folder / "ppo" / "summary.json", {"last": {"kl/mean": kl}})
    write_json(folder / "evaluate" / "report.json", {
        "overall": rate(0.55), "principles": {"detail": rate(mean(detail)), "conciseness": rate(mean(short))}})
    rows: list[dict[str, Any]] = [{"prompt": f"{prompts} {n}"} for n in range(len(detail))]
    if has_verdicts:
        for n, row in enumerate(rows):
            row["verdicts"] = {"overall": 0.9, "detail": detail[n], "conciseness": short[n]}
    write_jsonl(folder / "evaluate" / "answers.jsonl", rows)
    return {"ppo": folder / "ppo", "evaluate": folder / "evaluate"}


def test_values_come_from_the_evaluation_and_kl_from_the_last_phase(tmp_path: Path) -> None:
    folders = finished(tmp_path, [1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], kl=3.5)
    overall = Objective("overall", "higher", 0.0)
    assert measured([DETAIL, overall, KL], folders) == {
        "detail": pytest.approx((0.75, 0.65, 0.85, 4)), "overall": pytest.approx((0.55, 0.45, 0.65, 4)),
        "kl": Measured(3.5)}


def test_a_sample_has_a_row_for_each_prompt_and_the_same_kl_in_all(tmp_path: Path) -> None:
    """Wins, ties and losses, whatever the judge's probability was; no verdict is no outcome."""
    folders = finished(tmp_path, [0.9, 0.5, 0.2, None], [0.1, 0.1, 0.1, 0.6])
    sample = sample_of([DETAIL, KL, SHORT], {"kl": Measured(2.0)}, folders)
    assert sample is not None
    np.testing.assert_array_equal(sample.outcomes, [[1, 2, 0], [0.5, 2, 0], [0, 2, 0], [np.nan, 2, 1]])


def test_the_same_prompts_are_known_again(tmp_path: Path) -> None:
    samples = [sample_of([DETAIL], {}, finished(tmp_path / str(number), [1.0], [0.0], prompts=prompts))
               for number, prompts in enumerate(("q", "q", "other"))]
    first, second, third = [sample.prompts for sample in samples if sample is not None]
    assert first == second != third


def test_without_a_choice_each_principle_is_an_objective() -> None:
    assert objectives_of([], [recipe(), recipe(seed=1)]) == [DETAIL, SHORT]


def test_kl_counts_up_to_twice_the_largest_target_unless_a_reference_is_given() -> None:
    recipes = [recipe(ppo={"kl": {"target": target}}) for target in (2.5, 4.0, 1.0)]
    assert objectives_of([ObjectiveChoice(name="kl")], recipes) == [KL]
    given = [ObjectiveChoice(name="kl", reference=20), ObjectiveChoice(name="detail", reference=0.5)]
    assert objectives_of(given, recipes) == [("kl", "lower", 20), ("detail", "higher", 0.5)]


def test_a_principle_called_kl_is_a_principle() -> None:
    named = recipe(principles=[{"name": "kl", "statement": "shorter"}])
    assert objectives_of([ObjectiveChoice(name="kl")], [named]) == [("kl", "higher", 0.0)]


def test_an_objective_must_be_one_of_every_run() -> None:
    lacking = recipe(name="Lacking", principles=[{"name": "detail"}])
    with pytest.raises(BadSettings, match="'conciseness', which 'Lacking' does not report"):
        objectives_of([], [recipe(), lacking])


def results_of(tmp_path: Path, *folders: dict[str, Path]) -> list[Result]:
    results = [Result(SweepRun(number, {"ppo.steps": number * 10}, recipe()), "done", folders=of_run)
               for number, of_run in enumerate(folders, start=1)]
    for result in results:
        result.values = measured([DETAIL, SHORT], result.folders)
    return results


def test_the_page_marks_what_is_not_dominated_and_names_what_is_not_done(tmp_path: Path) -> None:
    results = results_of(tmp_path, finished(tmp_path / "stages/a", [1.0] * 3 + [0.0], [1.0] + [0.0] * 3),
                         finished(tmp_path / "stages/b", [1.0] * 2 + [0.0] * 2, [1.0] + [0.0] * 3))
    results.append(Result(SweepRun(3, {"name": "a | b"}, recipe()), "failed", "It broke."))
    write_results(tmp_path, "Two", [DETAIL, SHORT], results, (9, 5), has_ended=True)
    page = (tmp_path / "front.md").read_text().splitlines()
    assert page[2] == "| run | `ppo.steps` | `name` | detail, win rate | conciseness, win rate | front |"
    assert page[4] == "| 1 | 10 |  | 75% (65% to 85%) | 25% (15% to 35%) | ● |"
    assert page[5] == "| 2 | 20 |  | 50% (40% to 60%) | 25% (15% to 35%) | dominated by 1 |"
    assert page[6] == "| 3 |  | a \\| b |  |  | failed |"
    assert "- Run 3 (name = a | b): failed. It broke." in page
    written = read_json(tmp_path / "sweep.json")
    assert written["hypervolume"]["value"] == pytest.approx(0.1875)  # 0.75 × 0.25
    assert written["hypervolume"]["low"] < 0.1875 < written["hypervolume"]["high"]
    assert written["runs"][0]["stages"] == {"ppo": "stages/a/ppo", "evaluate": "stages/a/evaluate"}


def test_while_runs_come_in_the_volume_has_no_interval_yet(tmp_path: Path) -> None:
    results = results_of(tmp_path, finished(tmp_path / "a", [1.0, 0.0], [1.0, 0.0]))
    write_results(tmp_path, "Two", [DETAIL, SHORT], results, (9, 5), has_ended=False)
    assert read_json(tmp_path / "sweep.json")["hypervolume"] == {"value": 0.25, "low": None, "high": None, "points": 1}


def test_a_run_that_an_earlier_concord_evaluated_leaves_the_interval_out(tmp_path: Path) -> None:
    results = results_of(tmp_path, finished(tmp_path / "a", [1.0, 0.0], [1.0, 0.0]),
                         finished(tmp_path / "b", [1.0, 0.0], [1.0, 0.0], has_verdicts=False))
    write_results(tmp_path, "Two", [DETAIL, SHORT], results, (9, 5), has_ended=True)
    assert "Hypervolume of 2 runs: 0.25, from the reference point" in (tmp_path / "front.md").read_text()


def test_repetitions_are_spoken_of(tmp_path: Path) -> None:
    (result,) = results_of(tmp_path, finished(tmp_path / "a", [1.0, 0.0], [1.0, 0.0]))
    result.run = SweepRun(1, {"repeat": 3}, recipe())
    write_results(tmp_path, "Two", [DETAIL, SHORT], [result], (9, 5), has_ended=True)
    assert "The spread between repetitions" in (tmp_path / "front.md").read_text()
