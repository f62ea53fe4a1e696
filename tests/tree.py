"""The tree in docs/architecture.md, made from what stands in the first line of each file. `make tree` writes it there.

Left out: package markers, Django's `apps.py` and `urls.py`, migrations, and the files inside templates and static.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: made by `make tree` -->\n```text\n", "```\n<!-- end of the tree -->"
WIDE = 44
SILENT = {"__init__.py", "apps.py", "urls.py"}

# What has no first line to say it, in the order of the tree.
FOLDERS = {
    "training": "the engine: a library and a command line that know no web",
    "training/sweep": "many runs out of one recipe, which share stages, and the front of what came out",
    "training/paper": "the paper by one command: its runs, measures, figures and verdicts",
    "training/stages": "one file per stage, each reads from top to bottom, and the runner that runs one",
    "training/ppo": "towards the reward: the mathematics of PPO, its learner, processes and health; GRPO, RLOO",
    "training/reward": "one reward out of many principles: standardised scores, scalarization, constraints",
    "training/preference_models": "separate adapters, a shared trunk or full models, behind one interface",
    "training/models": "language models: loaded, read, decoded, measured, asked as judges (from here up: torch)",
    "training/judges": "judges and what their answers mean and cost (from here down: no torch)",
    "training/quality": "how good something is, with its uncertainty: calibration, cards, weights, win rates",
    "training/fronts": "trade-offs between objectives: dominance, hypervolume, its interval",
    "training/data": "rows of files, of the hub and of databases, and the data files of a run",
    "training/data/formats": "datasets of the field, a layout per file: what of a record becomes which rows",
    "training/data/records": "files of records, a format per file: read one row at a time, within bounds",
    "training/run": "what a run is made of before anything is computed: plan, folders, jobs, report stream",
    "training/measures": "what a program can say of a response as a number: words, tone, form, a team's own",
    "training/config": "the recipe's types, one file per section; the form is made from them",
    "training/config/principle_texts": "the twelve principles of MORLAIF, worded for a judge",
    "training/recipes": "the presets: demo, small GPU, large GPU",
    "training/demo_world": "a small language in which principles can be decided by rule, for learning and testing",
    "training/demo_world/weights": "the policy that speaks it; `python -m training.demo_world.build` makes it anew",
    "workers": "Celery tasks: claim a stage, run it in a process of its own, record what it reports",
    "webapp": "the Django project; it never imports torch",
    "webapp/accounts": "users and teams",
    "webapp/accounts/management/commands": "",
    "webapp/principles": "principles and their versions",
    "webapp/datasets": "imports, previews, bad rows",
    "webapp/labels": "the judge's labels and what people make of them",
    "webapp/judges": "saved judges: their keys, costs and pace, and two wordings compared",
    "webapp/judges/management/commands": "",
    "webapp/calibration": "judges measured against what people chose",
    "webapp/runs": "runs, their stages, their live curves",
    "webapp/runs/form": "the form that makes a run",
    "webapp/runs/table": "the list of runs: filtered in words, columns of choice, groups, saved views, files",
    "webapp/runs/page": "the page of a run, and the rows of lists",
    "webapp/runs/compare": "two to twelve runs side by side",
    "webapp/runs/report": "the report of one run or several: one HTML file that needs no server",
    "webapp/runs/head_to_head": "the policies of some runs against each other, on prompts that all of them answered",
    "webapp/runs/retraining": "runs that stand on labels corrected since, and their clones",
    "webapp/runs/rollouts": "the responses of a run's training with their scores: filtered, sorted, downloaded",
    "webapp/runs/downloads": "what a team takes home from a run: models, labels, a model card",
    "webapp/runs/principle_page": "the pages of principles, with what runs made of them",
    "webapp/runs/live": "what changes, told to whoever watches",
    "webapp/runs/series": "the series of numbers that stages report",
    "webapp/sweeps": "many runs of one recipe: their form, their start a few at a time, their front",
    "webapp/playground": "two policies side by side",
    "webapp/arena": "policies compared by people, blind, and their boards",
    "webapp/fronts": "policies that are no run's end, judged against their base, and their front",
    "webapp/review": "labels assigned to people, their queues, how far they agree",
    "webapp/laptop": "all processes of a laptop, started and kept alive by one command",
    "webapp/laptop/management/commands": "",
    "webapp/static": "style sheets, scripts, and the vendored uPlot and htmx",
    "templates": "base.html, one folder an app, _underscore partials",
    "tests": "mirrors the code; `tests/e2e` drives the whole stack in a real browser",
    "examples": "the algorithm in one file",
    "benchmarks": "one script a claim of speed",
    "docs": "design notes, words, pictures",
}


def tree() -> str:
    """The lines of the tree, each a path and what it is for."""
    lines = []
    for folder, purpose in FOLDERS.items():
        if not (ROOT / folder).is_dir():
            continue
        if purpose:
            lines.append(_line(_depth(folder), f"{_shown(folder)}/", purpose))
        if folder not in {"tests", "templates", "webapp/static", "docs"}:
            inside = _depth(folder) + 1 if purpose else _depth("webapp/runs") + 1
            prefix = "" if purpose else "management/commands/"
            lines += [_line(inside, f"{prefix}{file.name}", first_sentence(file)) for file in files(folder)]
    return "".join(f"{line}\n" for line in lines)


def files(folder: str) -> list[Path]:
    return [file for file in sorted((ROOT / folder).glob("*.py"))
            if file.name not in SILENT or (folder == "webapp" and file.name == "urls.py")]


def folders_with_code() -> set[str]:
    """Every folder of the product that holds a source file worth a line."""
    paths = {str(file.parent.relative_to(ROOT)) for name in ("training", "workers", "webapp", "examples", "benchmarks")
             for file in (ROOT / name).rglob("*.py") if file.name not in SILENT and "migrations" not in file.parts}
    return {folder for folder in paths if not folder.endswith("templatetags")}


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring, cut where a part of it ends if it is long."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"\.(?:\s|$)|\n\n", docstring, maxsplit=1)[0].replace("\n", " ").replace("`", "")
    if len(sentence) > 90:
        cut = max(sentence.rfind(mark, 20, 90) for mark in (",", ";", ":"))
        sentence = sentence[:cut] if cut > 0 else sentence[:90].rsplit(" ", 1)[0] + " ..."
    return sentence if ")" in sentence else sentence.partition(" (")[0]


def in_page(text: str) -> str:
    """The tree as it stands in docs/architecture.md."""
    return text[text.index(BEGIN) + len(BEGIN):text.index(END)]


def _depth(folder: str) -> int:
    return folder.count("/")


def _shown(folder: str) -> str:
    return folder.rpartition("/")[2]


def _line(depth: int, name: str, purpose: str) -> str:
    return f"{'    ' * depth}{name}".ljust(WIDE) + purpose


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(BEGIN + in_page(text) + END, BEGIN + tree() + END), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
