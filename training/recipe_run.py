"""Run a recipe on this machine: every stage that is not complete, in order, each in a process of its own.

Those that need torch are forked from one process that has imported it (`training.run.stage_server`).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from training.config import Recipe
from training.data.data_files import FileRole, digests
from training.data.file_cache import bad_rows_notice, cached_data_files
from training.errors import BadSettings
from training.judges.sibling_labels import labels_of_siblings
from training.run.artifacts import is_complete, read_json, write_json
from training.run.checks import check_run
from training.run.event_stream import EventReader
from training.run.events import MetricEvent, ProgressEvent
from training.run.jobs import DONE, FAILED, LOCKED, STOPPED, prepare_stage, runtime_of, stage_command
from training.run.pipeline import StagePlan, identities, needs_torch, plan
from training.run.stage_server import Forked, forking

Tell = Callable[[str], None]


def run_recipe(recipe: Recipe, out: Path, only: str | None = None, fork: bool = True, tell: Tell = print,
               tell_error: Tell = print) -> int:
    """Run what is not complete; the same call goes on where an earlier one ended.

    All memory of a stage is given back at the end of its process. Ctrl-C asks the stage that runs to stop and waits.

    Args:
        out: the folder of the run: `data/`, `stages/<identity>/` and `stages.json`, which names them.
        only: the one stage to run; what it reads must be complete.
        fork: whether stages may be forked from a process that has imported torch.
        tell, tell_error: are given a line for each stage that ended, and the reason of one that failed.

    Returns:
        An exit code of `training.run.jobs`: DONE, or that of the stage that was not done.

    Raises:
        BadSettings: there is no such stage, or what it reads is not complete.
        BadData: the data cannot be used.
    """
    check_run(recipe, out)
    files = cached_data_files(recipe, out / "data")
    if notice := bad_rows_notice(out / "data"):
        tell(notice)
    stages = plan(recipe)
    folders = {name: out / "stages" / identity for name, identity in identities(stages, digests(files)).items()}
    write_json(out / "stages.json", {name: str(folder.relative_to(out)) for name, folder in folders.items()})
    if only is not None and only not in folders:
        raise BadSettings(f"The recipe has no stage '{only}'.", f"It has {', '.join(folders)}.")
    with forking(allowed=fork) as forked:
        end = run_stages(recipe, files, folders, forked, tell, tell_error, only)
    if end.code == DONE:
        tell(f"done: {out}")
    return end.code


class RunEnd(NamedTuple):
    """How the stages of a run ended: an exit code of `training.run.jobs`, and which stage was not done and why."""

    code: int
    stage: str = ""
    reason: str = ""


def run_stages(recipe: Recipe, files: Mapping[FileRole, Path], folders: Mapping[str, Path], forked: Forked, tell: Tell,
               tell_error: Tell, only: str | None = None) -> RunEnd:
    """Run the stages of a recipe that are not complete, in order, up to the first one that is not done.

    Args:
        folders: where each stage is, by its name.
        forked: makes of a stage's command the one that is run, where the stage needs torch.
    """
    for stage in plan(recipe):
        folder = folders[stage.name]
        if only is not None and stage.name != only:
            continue
        if is_complete(folder):
            tell(f"{stage.name}: already complete")
            continue
        _prepare(recipe, stage, folders, files)
        command = [*stage_command(folder), "--die-with-parent"]
        code = _follow(stage, folder, forked(command) if needs_torch(stage.kind, stage.settings) else command, tell)
        if code != DONE:
            return RunEnd(code, stage.name, _explain(stage, folder, code, tell, tell_error))
    return RunEnd(DONE)


def _prepare(recipe: Recipe, stage: StagePlan, folders: Mapping[str, Path], files: Mapping[FileRole, Path]) -> None:
    """Write the stage's job.json. Raises BadSettings if what the stage reads is not complete."""
    unready = [name for name in stage.inputs.values() if not is_complete(folders[name])]
    if unready:
        raise BadSettings(f"'{stage.name}' reads {', '.join(unready)}, not complete yet.", "Run that first.")
    inputs = {role: folders[name] for role, name in stage.inputs.items()}
    stage_files: dict[str, Path] = {role: path for role, path in files.items() if role in stage.files}
    runtime = runtime_of(recipe, files={str(role): path for role, path in files.items()}, kind=stage.kind)
    folder = folders[stage.name]
    stage_files |= labels_of_siblings(stage, folder, [folders[name] for name in stage.after])
    prepare_stage(stage, folder.name, folder, inputs, stage_files, runtime)


def _follow(stage: StagePlan, folder: Path, command: Sequence[str], tell: Tell) -> int:
    """Start the stage's process and show its progress on one line; Ctrl-C asks it to stop and waits.

    Returns:
        Its exit code; after Ctrl-C STOPPED, unless it failed: it may have ended before it could listen, or just now.
    """
    # A session of its own, so that Ctrl-C reaches the stage once, through us.
    process = subprocess.Popen(command, start_new_session=True)
    is_stopping = False
    started, printed, tail = time.monotonic(), "", _Tail(folder / "events.jsonl")
    while True:
        try:
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            code = None
        except KeyboardInterrupt:
            is_stopping = True
            tell(f"\n{stage.name}: stopping at the next safe point")
            process.send_signal(signal.SIGTERM)
            continue
        line = f"{stage.name}: {tail.line()}"
        if sys.stdout.isatty() and line != printed:
            print(f"\r\033[K{line}", end="", flush=True)
            printed = line
        if code is not None:
            seconds = time.monotonic() - started
            tell(f"{chr(13) if printed else ''}{line} ({seconds:.0f} s)")
            return STOPPED if is_stopping and code != FAILED else code


class _Tail:
    """Progress and the newest metrics of a stage, short enough for a line; reads each event once."""

    def __init__(self, path: Path) -> None:
        self._reader, self._offset, self._seq = EventReader(path), 0, 0
        self._progress: ProgressEvent | None = None
        self._metric: MetricEvent | None = None

    def line(self) -> str:
        while (batch := self._reader.after(self._offset, self._seq)).offset > self._offset:
            self._offset, self._seq = batch.offset, batch.seq
            for event in batch.events:
                if event["kind"] == "progress":
                    self._progress = event
                elif event["kind"] == "metric":
                    self._metric = event
        progress, metric = self._progress, self._metric
        parts = [f"{progress['done']}/{progress['total']} {progress['unit']}s"] if progress else []
        parts += [f"{tag} {value:.3g}" for tag, value in list(metric["values"].items())[:4]] if metric else []
        return "  ".join(parts)


def _explain(stage: StagePlan, folder: Path, code: int, tell: Tell, tell_error: Tell) -> str:
    """Say why a stage is not done; the reason in a sentence."""
    if code == STOPPED:
        tell(f"{stage.name}: stopped; run the same command to continue")
        return "It was stopped."
    if (folder / "failure.json").is_file():
        failure = read_json(folder / "failure.json")
        tell_error(f"{stage.name} failed ({failure['kind']}): {failure['cause']} {failure['remedy']}")
        tell_error(f"details: {folder / 'failure.json'}")
        return f"{failure['cause']} {failure['remedy']}"
    if code == LOCKED:
        return "Another process has this stage."
    tell_error(f"{stage.name}: the process ended with code {code}; run the same command to try again")
    return f"Its process ended with code {code}."
