"""The engine in a bare environment: with none of the web's packages, from the command line and from a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, clean_environment
from tests.training.stage_folders import job
from training.run.artifacts import read_json

WEB = ("django", "celery", "channels", "gradio", "redis", "uvicorn")
NOTEBOOK = ROOT / "docs" / "notebooks" / "training.ipynb"


def bare(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script in a fresh interpreter in which the web's packages cannot be imported."""
    blocked = f"import sys; from tests.notebook import Blocked; sys.meta_path.insert(0, Blocked({WEB!r})); "
    return python("-c", blocked + script, *arguments)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240,
                          env=clean_environment(OMP_NUM_THREADS="1"))


def test_a_blocked_package_is_as_if_it_were_not_installed() -> None:
    done = bare("import django.conf")
    assert done.returncode == 1 and "No module named 'django'" in done.stderr


def test_the_command_line_lists_presets_and_runs_a_stage(tmp_path: Path) -> None:
    command = "from training.__main__ import main; sys.exit(main(sys.argv[1:]))"
    listed = bare(command, "presets")
    assert listed.returncode == 0, listed.stderr
    presets = [line.split()[0] for line in listed.stdout.splitlines()]
    assert presets == ["demo", "real_english", "small_gpu", "large_gpu"]
    job("weights", tmp_path, {"weights": {"mode": "set"}, "given": {"detail": 3.0, "empathy": 1.0}})
    ran = bare(command, "stage", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert read_json(tmp_path / "weights.json")["weights"] == {"detail": 0.75, "empathy": 0.25}


@pytest.mark.long
def test_the_notebook_runs_from_prompts_to_win_rates() -> None:
    done = python("-m", "tests.notebook", str(NOTEBOOK), "--check", "--without", *WEB)
    assert done.returncode == 0, done.stderr


def test_the_notebook_shows_what_each_cell_printed_and_no_path_of_the_machine_it_ran_on() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell["outputs"] for cell in cells)
    assert "/tmp" not in text and str(ROOT) not in text
