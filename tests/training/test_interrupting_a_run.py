"""Ctrl-C while a stage runs: the run stops there, however the stage takes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from training import recipe_run
from training.config import check_recipe
from training.recipe_run import run_recipe
from training.run.jobs import FAILED, STOPPED

# A stage in which Ctrl-C is pressed, and what it does when it is then asked to stop.
INTERRUPTED = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
with open(folder.parent / "played", "a") as played:
    played.write(json.loads((folder / "job.json").read_text())["name"] + chr(10))
def asked(*_):
    if sys.argv[2] == "ends":
        (folder / "manifest.json").write_text("{}")
        os._exit(0)
    if sys.argv[2] == "fails":
        (folder / "failure.json").write_text(json.dumps({"kind": "x", "cause": "It broke.", "remedy": "Mend it."}))
        os._exit(1)
    os._exit(75)
if sys.argv[2] != "is not listening":
    signal.signal(signal.SIGTERM, asked)
time.sleep(0.3)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(30)
"""


@pytest.mark.parametrize(("behaviour", "code", "words"), [
    ("stops", STOPPED, "sample: stopped; run the same command to continue"),
    ("is not listening", STOPPED, "sample: stopped; run the same command to continue"),  # it has only just started
    ("ends", STOPPED, "sample: stopped; run the same command to continue"),  # at that moment: no other stage begins
    ("fails", FAILED, "sample failed (x): It broke. Mend it."),
])
def test_no_stage_begins_after_ctrl_c(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, behaviour: str, code: int,
                                      words: str) -> None:
    monkeypatch.setattr(recipe_run, "stage_command",
                        lambda folder: [sys.executable, "-S", "-c", INTERRUPTED, str(folder), behaviour])
    recipe = check_recipe({"data": {"limit": 60, "held_out": 12}, "principles": [{"name": "detail"}]})
    lines: list[str] = []
    assert run_recipe(recipe, tmp_path, fork=False, tell=lines.append, tell_error=lines.append) == code
    assert words in lines
    assert (tmp_path / "stages" / "played").read_text().split() == ["sample"]
