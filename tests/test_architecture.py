"""The arrows of dependency and the ceilings of size: what keeps the code readable, checked."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.processes import ROOT, clean_environment

SOURCES = ("training", "webapp", "workers")
FILE_CEILING, TEST_CEILING, FUNCTION_CEILING, LOOP_CEILING = 400, 500, 60, 120
ATTICS = {"utils", "util", "common", "helpers", "misc", "constants"}
BUILDS_THE_DEMO_WORLD = {"training.demo_world.build", "training.demo_world.tokenizer"}  # run by hand, by nobody else


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and how many lines it has, its docstring not counted."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def is_stage_loop(path: Path, function: str) -> bool:
    return path.parent.name == "stages" and function == "run"


def test_the_contracts_of_import_linter_are_kept() -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    linted = subprocess.run([sys.executable, "-c", command], cwd=ROOT, env=clean_environment(), capture_output=True,
                            text=True, timeout=120)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def loaded_after(imports: str, var: Path) -> set[str]:
    """The top-level packages that a fresh interpreter holds after these imports."""
    script = f"{imports}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120,
                         env=clean_environment(CONCORD_VAR=str(var), DJANGO_SETTINGS_MODULE="webapp.settings"))
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def torch_free_modules() -> list[str]:
    """Every module of the folders that the contract "torch-free" of pyproject.toml names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    sources = next(contract["source_modules"] for contract in contracts if contract.get("id") == "torch-free")
    modules = []
    for source in sources:
        path = ROOT / source.replace(".", "/")
        for file in [path.with_suffix(".py")] if not path.is_dir() else sorted(path.rglob("*.py")):
            modules.append(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return [module for module in modules if module not in BUILDS_THE_DEMO_WORLD]


def test_the_torch_free_folders_of_the_engine_load_neither_torch_nor_django(tmp_path: Path) -> None:
    modules = torch_free_modules()
    assert {"training.run.pipeline", "training.judges.openai_judge", "training.text"} <= set(modules)
    loaded = loaded_after("\n".join(f"import {module}" for module in modules), tmp_path)
    assert not loaded & {"torch", "transformers", "peft", "trl", "accelerate", "django", "celery", "channels", "gradio"}


def test_the_web_process_loads_neither_torch_nor_twisted(tmp_path: Path) -> None:
    """With Twisted loaded Gradio's components break."""
    loaded = loaded_after("import webapp.asgi; assert webapp.asgi.pane, 'no pane'", tmp_path)
    assert {"django", "gradio"} <= loaded
    assert not loaded & {"torch", "transformers", "peft", "trl", "accelerate", "twisted", "daphne"}


def test_no_file_is_longer_than_its_ceiling() -> None:
    def lines(path: Path) -> int:
        return len(path.read_text(encoding="utf-8").splitlines())
    too_long = [f"{relative(path)}: {lines(path)} lines" for folders, ceiling in
                ((SOURCES + ("examples", "benchmarks"), FILE_CEILING), (("tests",), TEST_CEILING))
                for path in python_files(*folders) if lines(path) > ceiling]
    assert not too_long


def test_no_function_is_longer_than_its_ceiling() -> None:
    too_long = [f"{relative(path)}:{name}: {lines} lines"
                for path in python_files(*SOURCES, "examples", "benchmarks", "tests") for name, lines in functions(path)
                if lines > (LOOP_CEILING if is_stage_loop(path, name) else FUNCTION_CEILING)]
    assert not too_long


def test_no_file_is_an_attic() -> None:
    folders = (*SOURCES, "examples", "benchmarks", "tests")
    assert not [relative(path) for path in python_files(*folders) if path.stem in ATTICS]


def test_every_signature_of_the_product_is_annotated() -> None:
    bare = [f"{relative(path)}:{node.name}" for path in python_files(*SOURCES, "examples")
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None]
    assert not bare


def test_every_file_of_the_product_says_in_its_first_line_what_it_is_for() -> None:
    routes = {"urls.py", "apps.py", "admin.py", "__init__.py"}  # their name says it
    silent = [relative(path) for path in python_files("training", "workers", "webapp", "examples")
              if path.name not in routes and not ast.get_docstring(parsed(path))]
    assert not silent


def pages_and_scripts() -> list[Path]:
    templates = sorted((ROOT / "templates").rglob("*.html"))
    static = [path for path in sorted((ROOT / "webapp" / "static").rglob("*"))
              if path.suffix in {".js", ".css", ".svg"} and "vendor" not in path.parts]
    return templates + static


def test_nothing_is_loaded_from_another_host() -> None:
    loads = re.compile(r"""(?:src|href|action)\s*=\s*["'](?:https?:)?//|@import|url\(\s*["']?(?:https?:)?//"""
                       r"""|(?:import|fetch)\s*\(\s*["']https?://|from\s+["']https?://""")
    allowed = re.compile(r"""<a\s[^>]*href\s*=\s*["']https://""")  # a link that a person clicks loads nothing by itself
    violations = [f"{relative(path)}: {match.group(0)}" for path in pages_and_scripts()
             for match in loads.finditer(allowed.sub("", path.read_text(encoding="utf-8")))]
    assert not violations


@pytest.mark.parametrize(("what", "pattern"), [
    ("script", r"<script(?![^>]*\b(?:src=|type=[\"']application/json))[^>]*>"),
    ("style element", r"<style\b"),
    ("style attribute", r"<[^>]*\sstyle\s*="),
    ("event attribute", r"<[^>]*\son(?:click|change|submit|input|load|keydown|keyup)\s*="),
    ("javascript address", r"javascript:"),
])
def test_no_template_holds_anything_inline_that_the_content_security_policy_refuses(what: str, pattern: str) -> None:
    violations = [f"{relative(path)}: {match.group(0)[:80]}" for path in sorted((ROOT / "templates").rglob("*.html"))
             for match in re.finditer(pattern, path.read_text(encoding="utf-8"))]
    assert not violations, f"inline {what}"


def test_every_page_extends_a_base() -> None:
    bare = [relative(path) for path in sorted((ROOT / "templates").rglob("*.html"))
            if not path.name.startswith("_") and path.name != "base.html" and "admin" not in path.parts
            and "{% extends" not in path.read_text(encoding="utf-8")]
    assert not bare, "a partial's name begins with an underscore"
