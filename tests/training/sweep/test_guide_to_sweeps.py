"""docs/guides/sweeps.md is kept true: its examples are sweeps, and the first one says what the guide shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.processes import ROOT
from training.config import read_yaml_text
from training.sweep.command import run_sweep
from training.sweep.sweep_file import check_sweep

GUIDE = (ROOT / "docs" / "guides" / "sweeps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
WAYS = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", GUIDE, re.MULTILINE)


def test_the_first_sweep_would_run_what_the_guide_says(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(BLOCKS[0])
    lines: list[str] = []
    run_sweep(tmp_path / "sweep.yaml", tmp_path / "out", dry=True, tell=lines.append)
    shown = re.search(r"    \$ python -m training sweep .* --dry-run\n((?:    .*\n)+)", GUIDE)
    assert shown is not None and [line.strip() for line in shown.group(1).splitlines()] == lines


def test_all_ways_are_shown() -> None:
    assert [way for way, _ in WAYS] == ["grid", "list", "random", "simplex", "seeds"]


@pytest.mark.parametrize(("way", "example"), WAYS)
def test_the_example_of_a_way_is_a_sweep(way: str, example: str) -> None:
    assert check_sweep({"recipe": "demo", "over": {way: read_yaml_text(example)}}).over.model_fields_set


def test_the_example_of_objectives_can_be_read() -> None:
    (objectives,) = [read_yaml_text(block) for block in BLOCKS if block.startswith("objectives")]
    chosen = check_sweep({"recipe": "demo", "over": {"seeds": [1]}, **objectives}).objectives
    assert [(choice.name, choice.reference) for choice in chosen] == [
        ("detail", None), ("conciseness", None), ("kl", 10)]
