"""The stages of the paper's experiment: each once, several at a time, and what a killed command leaves is kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from training.config import Recipe, check_recipe
from training.config.paper_experiment import demo_recipe
from training.data.data_files import FileRole
from training.errors import BadSettings
from training.paper import schedule
from training.paper.command import reproduce
from training.paper.schedule import StageFailed, Work, carry_out, works
from training.run.artifacts import write_manifest

# A stage that notes when it began and what was complete by then, and is done.
PLAYED = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
unready = [role for role, path in job["inputs"].items() if not (pathlib.Path(path) / "manifest.json").is_file()]
with open(folder.parent / "played", "a") as played:
    played.write(job["name"] + (" too early" if unready else "") + chr(10))
if job["name"] == sys.argv[2]:
    (folder / "failure.json").write_text(json.dumps({"cause": "The disk is full.", "remedy": "Make room."}))
    sys.exit(1)
(folder / "manifest.json").write_text("{}")
"""


def recipe() -> Recipe:
    return check_recipe({"name": "Two", "principles": [{"name": "toxicity"}, {"name": "conciseness"}]})


@pytest.fixture
def files(tmp_path: Path) -> dict[FileRole, Path]:
    for name in ("prompts", "held_out"):
        (tmp_path / name).write_text("")
    return {"prompts": tmp_path / "prompts", "held_out": tmp_path / "held_out"}


@pytest.fixture
def todo(files: dict[FileRole, Path], tmp_path: Path) -> list[Work]:
    return works([recipe(), recipe().model_copy(update={"repeat": 1})], files, tmp_path / "stages")


def play(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
    monkeypatch.setattr(schedule, "stage_command",
                        lambda folder: [sys.executable, "-c", PLAYED, str(folder), failing])


def test_every_stage_runs_once_after_what_it_reads(
    monkeypatch: pytest.MonkeyPatch, todo: list[Work], files: dict[FileRole, Path], tmp_path: Path
) -> None:
    play(monkeypatch)
    lines: list[str] = []
    assert carry_out(todo, files, 3, os.environ, lines.append)
    played = (tmp_path / "stages" / "played").read_text().split("\n")[:-1]
    assert sorted(played) == sorted(["sample", "label:toxicity", "label:conciseness", "preference_model:toxicity",
                                     "preference_model:conciseness", "weights", "ppo", "ppo", "evaluate", "evaluate"])
    assert lines[0] == "10 stages, 0 of them already complete" and lines[-1].startswith("10/10  evaluate of 'Two'")


def test_what_is_complete_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, todo: list[Work], files: dict[FileRole, Path], tmp_path: Path
) -> None:
    play(monkeypatch)
    for work in todo[:-1]:
        work.folder.mkdir(parents=True)
        write_manifest(work.folder)
    assert carry_out(todo, files, 1, os.environ, lambda line: None)
    assert (tmp_path / "stages" / "played").read_text() == "evaluate\n"


def test_a_stage_that_fails_ends_the_experiment_with_its_cause_and_remedy(
    monkeypatch: pytest.MonkeyPatch, todo: list[Work], files: dict[FileRole, Path], tmp_path: Path
) -> None:
    play(monkeypatch, failing="label:conciseness")
    with pytest.raises(StageFailed, match=r"label:conciseness of 'Two' failed: The disk is full. Make room."):
        carry_out(todo, files, 1, os.environ, lambda line: None)
    assert "ppo" not in (tmp_path / "stages" / "played").read_text().split()


@pytest.mark.parametrize(("seeds", "jobs", "message"), [
    ([0, 0], 1, "names no seed, a negative one, or one twice"), ([], 1, "names no seed"), ([-1], 1, "negative"),
    ([0], 0, "leaves nobody to work"),
])
def test_seeds_and_jobs_that_cannot_be_are_refused(tmp_path: Path, seeds: list[int], jobs: int, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        reproduce(recipe(), tmp_path, "", {}, print, seeds=seeds, jobs=jobs)


def test_the_demo_recipe_of_the_paper_holds_two_hundred_pairs_out() -> None:
    made = demo_recipe()
    assert made.sample.count * made.preference_model.held_out == 200
