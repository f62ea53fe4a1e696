"""A sweep that trains in the demo world: stopped after its first run, and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.sweep.test_running_a_sweep import OWN, SHARED, sweep_file
from training.run.artifacts import read_json
from training.run.jobs import DONE, STOPPED


@pytest.mark.long
def test_a_sweep_of_the_demo_world_is_stopped_after_a_run_and_continued(tmp_path: Path) -> None:
    path, out = sweep_file(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "training", "sweep", str(path), str(out)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("run 2 of 3"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == STOPPED, rest
    assert f"to continue: python -m training sweep {path} {out}" in rest
    first = read_json(out / "sweep.json")["runs"]
    assert [run["state"] for run in first] == ["done", "stopped", "waiting"]
    kept = {name: (out / folder / "manifest.json").stat().st_mtime_ns for name, folder in first[0]["stages"].items()}
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert again.returncode == DONE, again.stdout + again.stderr
    runs = read_json(out / "sweep.json")["runs"]
    assert [run["state"] for run in runs] == ["done"] * 3
    # What the first run made is untouched, and all runs read the same labels and preference models.
    assert kept == {name: (out / folder / "manifest.json").stat().st_mtime_ns
                    for name, folder in first[0]["stages"].items()}
    folders = {name: {run["stages"][name] for run in runs} for name in [*SHARED, *OWN]}
    assert {name: len(of_all) for name, of_all in folders.items()} == dict.fromkeys(SHARED, 1) | dict.fromkeys(OWN, 3)
    assert len(list((out / "stages").iterdir())) == 5 + 3 * 3
    assert all(set(run["objectives"]) == {"factuality", "conciseness"} for run in runs)
    assert all(run["objectives"]["factuality"]["n"] == 12 for run in runs)
    assert read_json(out / "sweep.json")["hypervolume"]["low"] is not None
