"""README.md and docs/architecture.md are kept true: their length, tree, paths, commands, links and picture."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import tree
from tests.processes import ROOT, clean_environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = tree.PAGE.read_text(encoding="utf-8")


def test_the_tree_is_that_of_the_repository() -> None:
    assert tree.in_page(ARCHITECTURE) == tree.tree(), "run `make tree`"


def test_the_readme_is_read_in_two_minutes() -> None:
    assert README.count("\n") <= 120


def test_every_path_on_the_way_of_a_label_is_there() -> None:
    way = ARCHITECTURE[ARCHITECTURE.index("## The way of one label"):ARCHITECTURE.index("## Every file")]
    paths = re.findall(r"(?<![\w/])(?:training|webapp|workers)/[\w/.-]+", way)
    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_folder_with_code_is_in_the_tree() -> None:
    assert tree.folders_with_code() <= tree.FOLDERS.keys(), "add the folder to FOLDERS in tests/tree.py"


def test_every_file_in_the_tree_says_what_it_is_for() -> None:
    silent = [str(file.relative_to(ROOT)) for folder in tree.FOLDERS if folder not in {"tests", "docs", "templates"}
              for file in tree.files(folder) if not tree.first_sentence(file)]
    assert not silent, "give the file a docstring"


def test_the_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = set(re.findall(r"(?:^    |`)make (\w+)", README, re.MULTILINE))
    assert {"demo", "test"} <= commands
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/architecture.md"])
def test_every_link_within_the_repository_leads_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not lost


def test_the_command_line_of_the_readme_works() -> None:
    shown = subprocess.run([sys.executable, "-m", "training", "presets"], cwd=ROOT, env=clean_environment(),
                           capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0
    assert "demo" in shown.stdout
    assert "python -m training run" in README


def test_every_requirement_is_pinned_exactly() -> None:
    loose = [line for name in ("requirements.txt", "requirements-dev.txt")
             for line in (ROOT / name).read_text().splitlines()
             if line and not line.startswith(("#", "-r ")) and "==" not in line]
    assert not loose
