"""A sweep from end to end: shared stages once, on after a failure, stopped and continued.

The stages are played: each writes what a reader of results needs. test_a_sweep_of_the_demo_world.py trains.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from training import recipe_run
from training.run.artifacts import read_json
from training.run.jobs import DONE, FAILED
from training.sweep.command import run_sweep

# The win rate of conciseness is its weight, that of factuality the other one's; KL is ten times the latter.
PLAYED = """
import json, pathlib, sys
folder, failing = pathlib.Path(sys.argv[1]), sys.argv[2]
job = json.loads((folder / "job.json").read_text())
with open(folder.parent / "played", "a") as played:
    played.write(job["name"] + chr(10))
if job["name"] == failing or failing in json.dumps(job["settings"].get("ppo", {})):
    (folder / "failure.json").write_text(json.dumps({"kind": "x", "cause": "It broke.", "remedy": "Mend it."}))
    sys.exit(1)
weights = pathlib.Path(job["inputs"].get("weights", folder)) / "shares.json"
if job["kind"] == "weights":
    given = job["settings"]["given"]
    shares = {name: weight / sum(given.values()) for name, weight in given.items()}
    (folder / "shares.json").write_text(json.dumps(shares))
if job["kind"] == "ppo":
    shares = json.loads(weights.read_text())
    summary = {"last": {"kl/mean": 10 * shares["factuality"]}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "shares.json").write_text(json.dumps(shares))
if job["kind"] == "evaluate":
    shares = json.loads((pathlib.Path(job["inputs"]["ppo"]) / "shares.json").read_text())
    shares["overall"] = 0.5
    rows = [{"prompt": [n], "verdicts": {name: float(n < 4 * share) for name, share in shares.items()}}
            for n in range(4)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
    rate = lambda share: {"win_rate": share, "low": share / 2, "high": 1 - (1 - share) / 2, "n": 4}
    principles = {name: rate(share) for name, share in shares.items()}
    report = {"overall": principles.pop("overall"), "principles": principles}
    (folder / "report.json").write_text(json.dumps(report))
(folder / "manifest.json").write_text("{}")
"""

TINY: dict[str, Any] = {
    "name": "Short or true", "data": {"source": "demo-world", "limit": 60, "held_out": 12},
    "principles": [{"name": "factuality"}, {"name": "conciseness"}], "judge": {"kind": "rule", "max_pairs": 24},
    "preference_model": {"lora": {"r": 4, "alpha": 8}, "epochs": 1, "batch_size": 8, "max_length": 96,
                         "stop_at_chance": False},
    "sample": {"count": 24, "max_new_tokens": 16},
    "ppo": {"steps": 2, "batch_size": 4, "epochs": 1, "micro_batch": 4, "max_new_tokens": 16, "sample_prompts": 0},
    "evaluate": {"prompts": 12, "max_new_tokens": 16}, "device": "cpu"}
WEIGHTINGS = {"simplex": {"principles": ["factuality", "conciseness"], "parts": 2}}
SHARED = ["sample", "label:factuality", "label:conciseness", "preference_model:factuality",
          "preference_model:conciseness"]
OWN = ["weights", "ppo", "evaluate"]


def sweep_file(tmp_path: Path, over: dict[str, Any] = WEIGHTINGS, **more: Any) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"recipe": TINY, "over": over, **more}))
    return path


class Played:
    """A sweep whose stages are played, what it said, and which stages were played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._monkeypatch, self.out, self.lines, self.errors = monkeypatch, tmp_path / "out", [""], [""]

    def run(self, path: Path, failing: str = "nothing", dry: bool = False) -> int:
        self._monkeypatch.setattr(recipe_run, "stage_command",
                                  lambda folder: [sys.executable, "-S", "-c", PLAYED, str(folder), failing])
        self.lines, self.errors = [], []
        (self.out / "stages" / "played").unlink(missing_ok=True)
        return run_sweep(path, self.out, dry=dry, fork=False, tell=self.lines.append, tell_error=self.errors.append)

    @property
    def stages(self) -> list[str]:
        played = self.out / "stages" / "played"
        return played.read_text().split() if played.is_file() else []

    @property
    def runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = read_json(self.out / "sweep.json")["runs"]
        return runs


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    return Played(monkeypatch, tmp_path)


def test_shared_stages_run_once_and_the_front_is_written(played: Played, tmp_path: Path) -> None:
    assert played.run(sweep_file(tmp_path, objectives=["factuality", "conciseness"])) == DONE
    assert played.stages == [*SHARED, *OWN, *OWN, *OWN]
    assert played.lines[0] == "Short or true: 3 runs of 24 stages in all, 14 of them distinct"
    sweep = read_json(played.out / "sweep.json")
    assert sweep["stages"] == {"total": 24, "distinct": 14}
    assert [run["state"] for run in played.runs] == ["done"] * 3
    assert played.runs[1]["varied"] == {"principles.factuality.weight": 1.0, "principles.conciseness.weight": 1.0}
    assert played.runs[1]["objectives"]["conciseness"] == {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}
    assert [run["non_dominated"] for run in played.runs] == [True] * 3
    # 0 × 1, ½ × ½ and 1 × 0: the one in the middle alone has an area.
    assert sweep["hypervolume"]["value"] == 0.25 and sweep["hypervolume"]["points"] == 3
    assert 0 <= sweep["hypervolume"]["low"] < 0.25 <= sweep["hypervolume"]["high"]
    page = (played.out / "front.md").read_text()
    assert "| 2 | 1 | 1 | 50% (25% to 75%) | 50% (25% to 75%) | ● |" in page
    assert "Hypervolume of 3 runs: 0.25 (" in page and "from the reference point factuality 0, conciseness 0" in page


def test_kl_is_better_lower_and_counted_up_to_its_reference(played: Played, tmp_path: Path) -> None:
    """Factuality 0, ½ and 1 at a KL of 0, 5 and 10 nats (the last phase's): up to 8 nats ½ × 3 counts."""
    objectives = ["factuality", {"name": "kl", "reference": 8}]
    assert played.run(sweep_file(tmp_path, objectives=objectives)) == DONE
    assert [run["objectives"]["kl"]["value"] for run in played.runs] == [0, 5, 10]
    assert read_json(played.out / "sweep.json")["hypervolume"]["value"] == pytest.approx(1.5)
    assert "kl, nats per response (lower is better)" in (played.out / "front.md").read_text()
    assert played.run(sweep_file(tmp_path, objectives=["conciseness", "kl"])) == DONE
    sweep = read_json(played.out / "sweep.json")
    assert sweep["objectives"][1] == {"name": "kl", "direction": "lower", "reference": 12.0}  # twice the target
    assert [run["dominated_by"] for run in sweep["runs"]] == [0, 1, 2] and played.stages == []
    assert "| dominated by 2 |" in (played.out / "front.md").read_text()


def test_a_run_that_fails_is_named_at_the_end_and_the_others_go_on(played: Played, tmp_path: Path) -> None:
    path = sweep_file(tmp_path, {"list": [{"ppo.steps": 2}, {"ppo.steps": 77}, {"ppo.steps": 3}]})
    assert played.run(path, failing='"steps": 77') == FAILED
    assert [run["state"] for run in played.runs] == ["done", "failed", "done"]
    assert played.errors[-1] == "run 2 (ppo.steps = 77) failed: ppo: It broke. Mend it."
    assert "2 of 3 runs done" in played.lines[-2]
    page = (played.out / "front.md").read_text()
    assert "- Run 2 (ppo.steps = 77): failed. ppo: It broke. Mend it." in page and "Hypervolume of 2 runs" in page
    assert "objectives" not in played.runs[1]
    assert played.run(path) == DONE and played.stages == ["ppo", "evaluate"]
    assert [run["state"] for run in played.runs] == ["done"] * 3 and "reason" not in played.runs[1]


def test_a_shared_stage_that_fails_is_tried_once(played: Played, tmp_path: Path) -> None:
    assert played.run(sweep_file(tmp_path), failing="label:conciseness") == FAILED
    assert played.stages == SHARED[:3]
    assert [run["state"] for run in played.runs] == ["failed"] * 3
    assert played.runs[2]["reason"] == ("It shares the stage that failed in run 1. label:conciseness: It broke. "
                                        "Mend it.")
    assert "Hypervolume of 0 runs: 0, from" in (played.out / "front.md").read_text()


def test_data_that_cannot_be_used_fails_its_run_alone(played: Played, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("prompt\n")
    judge = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    over = {"list": [{"data.limit": 60}, {"data.source": str(tmp_path / "empty.csv"), "judge": judge},
                     {"data.limit": 50}]}
    assert played.run(sweep_file(tmp_path, over)) == FAILED
    assert [run["state"] for run in played.runs] == ["done", "failed", "done"]
    assert len(list((played.out / "data").iterdir())) == 2  # a folder for each choice of data


def test_a_longer_sweep_in_the_same_folder_computes_what_is_new(played: Played, tmp_path: Path) -> None:
    assert played.run(sweep_file(tmp_path)) == DONE
    finer = {"simplex": {"principles": ["factuality", "conciseness"], "parts": 4}}
    assert played.run(sweep_file(tmp_path, finer)) == DONE
    assert played.stages == [*OWN, *OWN] and len(played.runs) == 5


def test_a_dry_run_says_what_would_run_and_writes_nothing(played: Played, tmp_path: Path) -> None:
    assert played.run(sweep_file(tmp_path, {"seeds": [4, 5]}), dry=True) == DONE
    assert played.lines == ["Short or true: 2 runs of 16 stages in all, 10 of them distinct", "run 1: repeat = 4",
                            "run 2: repeat = 5"]
    assert not played.out.exists()


@pytest.mark.parametrize(("objectives", "words"), [
    (["detail"], "'objectives' names 'detail', which 'Short or true, run 1' does not report. Name only factuality, "
                 "conciseness, overall, kl."),
    (["kl", "kl"], "'objectives' names kl twice"),
])
def test_an_objective_that_no_run_reports_is_refused_before_anything_runs(
    played: Played, tmp_path: Path, objectives: list[str], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        played.run(sweep_file(tmp_path, objectives=objectives))
    assert not played.out.exists()


def test_a_mistake_is_said_in_a_line(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, {"grid": {"ppo.clip": [0.2, -3]}})
    done = subprocess.run([sys.executable, "-m", "training", "sweep", str(path), str(tmp_path / "out")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == FAILED and done.stdout == "" and not (tmp_path / "out").exists()
    assert done.stderr.startswith("error: Combination 2 (ppo.clip = -3) cannot be run: The recipe cannot be used: "
                                  "ppo.clip: must be above 0 (given: -3)") and done.stderr.count("\n") == 1
