"""Runs a notebook's code cells one after another in this process, as a kernel would: `python -m tests.notebook PATH`.

What each cell prints becomes its output, and the notebook is written back; with `--check` nothing is written. With
`--without NAME ...` those packages cannot be imported, as if they were not installed. There is no kernel and no Jupyter
in between: the cells are plain Python, and 28 packages less are needed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class Blocked(MetaPathFinder):
    """Some packages are not there."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r} (blocked)", name=fullname)


def run(notebook: dict[str, Any]) -> None:
    """Run the code cells in one namespace; what they print is put into them. An error ends it."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        lines = printed.getvalue().splitlines(keepends=True)
        cell["execution_count"] = number
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a notebook and keep what it prints.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="packages that cannot be imported")
    options = parser.parse_args()
    sys.meta_path.insert(0, Blocked(options.without))
    notebook = json.loads(options.path.read_text(encoding="utf-8"))
    run(notebook)
    if not options.check:
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        options.path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
