"""`python -m training sweep`: every run of a sweep, one after another, each stage that several share once.

All stages stand in one folder, by their identity. A run that fails does not stop the others, unless they share the
stage that failed. The same call goes on where an earlier one ended, with a changed sweep file too: what it shares with
the earlier one is not computed again.

Left out: several runs at a time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.config import as_yaml
from training.data.data_files import FileRole, digests
from training.data.file_cache import bad_rows_notice, cached_data_files
from training.errors import TrainingError
from training.recipe_run import run_stages
from training.run.artifacts import digest_of, is_complete, write_text
from training.run.checks import check_run
from training.run.jobs import DONE, FAILED, LOCKED, STOPPED
from training.run.pipeline import identities, plan
from training.run.stage_server import Forked, forking
from training.sweep.objectives import Objective, measured, objectives_of
from training.sweep.results import Result, write_results
from training.sweep.sweep_file import read_sweep
from training.sweep.sweep_plan import SweepRun, stage_counts, sweep_runs

Tell = Callable[[str], None]


def run_sweep(path: Path, out: Path, *, dry: bool = False, fork: bool = True, tell: Tell = print,
              tell_error: Tell = print) -> int:
    """Run a sweep in `out`, or say only what it would run.

    Args:
        fork: whether stages may be forked from a process that has imported torch.
        tell, tell_error: are given what happens, and why a run failed, line by line.

    Returns:
        An exit code of `training.run.jobs`: DONE, FAILED if a run failed, or STOPPED.

    Raises:
        BadSettings: the sweep file or one of its combinations cannot be used; nothing was run.
    """
    sweep, base = read_sweep(path)
    runs = sweep_runs(sweep, base)
    objectives = objectives_of(sweep.objectives, [run.recipe for run in runs])
    counts = stage_counts(runs)
    tell(f"{base.name}: {_counted(len(runs), 'run')} of {counts[0]:,} stages in all, {counts[1]:,} of them distinct")
    if dry:
        for run in runs:
            tell(f"run {run.number}: {run.title}")
        return DONE
    for run in runs:
        write_text(out / "recipes" / f"{run.number:03}.yaml", as_yaml(run.recipe))
    results = [Result(run) for run in runs]

    def record(has_ended: bool = False) -> None:
        for result in results:
            if result.state == "done" and not result.values:
                result.values = measured(objectives, result.folders)
        write_results(out, base.name, objectives, results, counts, has_ended)

    with forking(allowed=fork) as forked:
        code = _run_all(results, out, forked, record, tell, tell_error)
    record(has_ended=True)
    _close(results, out, code, objectives, tell, tell_error)
    if code == STOPPED:
        tell(f"to continue: python -m training sweep {shlex.quote(str(path))} {shlex.quote(str(out))}")
    return code


def _run_all(results: Sequence[Result], out: Path, forked: Forked, record: Callable[[], None], tell: Tell,
             tell_error: Tell) -> int:
    failures: dict[Path, Result] = {}  # by the folder of the stage that failed in this call
    for result in results:
        try:
            tell(f"\nrun {result.run.number} of {len(results)}: {result.run.title}")
            _run_one(result, out, forked, failures, tell, tell_error)
            record()
        except TrainingError as error:
            result.state, result.reason = "failed", str(error)
            tell_error(f"run {result.run.number} failed: {error}")
        except KeyboardInterrupt:  # between two stages
            if result.state != "done":
                result.state, result.reason = "stopped", "It was stopped."
            return STOPPED
        if result.state == "stopped":
            return STOPPED
    return FAILED if any(result.state == "failed" for result in results) else DONE


def _run_one(result: Result, out: Path, forked: Forked, failures: dict[Path, Result], tell: Tell,
             tell_error: Tell) -> None:
    recipe = result.run.recipe
    files = _data_files(result.run, out, tell)
    result.folders = _folders(result.run, files, out)
    check_run(recipe, out)
    if blocked := [folder for folder in result.folders.values() if folder in failures]:
        first = failures[blocked[0]]
        result.state = "failed"
        result.reason = f"It shares the stage that failed in run {first.run.number}. {first.reason}"
        tell_error(f"run {result.run.number} left out: it shares the stage that failed in run {first.run.number}")
        return
    end = run_stages(recipe, files, result.folders, forked, tell, tell_error)
    if end.code == DONE:
        result.state = "done"
        return
    result.state = "stopped" if end.code == STOPPED else "failed"
    result.reason = f"{end.stage}: {end.reason}"
    if end.code not in (STOPPED, LOCKED):
        failures[result.folders[end.stage]] = result


def _data_files(run: SweepRun, out: Path, tell: Tell) -> Mapping[FileRole, Path]:
    """The data files of a run: in a folder that it shares with the runs of the same data."""
    folder = out / "data" / digest_of([run.recipe.data.model_dump(mode="json"), run.recipe.seed])[:16]
    is_new = not folder.is_dir()
    files = cached_data_files(run.recipe, folder)
    if is_new and (notice := bad_rows_notice(folder)):
        tell(notice)
    return files


def _folders(run: SweepRun, files: Mapping[FileRole, Path], out: Path) -> dict[str, Path]:
    names = identities(plan(run.recipe), digests(files))
    return {name: out / "stages" / identity for name, identity in names.items()}


def _close(results: Sequence[Result], out: Path, code: int, objectives: Sequence[Objective], tell: Tell,
           tell_error: Tell) -> None:
    done = sum(result.state == "done" for result in results)
    computed = {folder for result in results for folder in result.folders.values() if is_complete(folder)}
    tell(f"\n{done} of {_counted(len(results), 'run')} done, {_counted(len(computed), 'complete stage')}")
    for result in results:
        if result.state == "failed":
            tell_error(f"run {result.run.number} ({result.run.title}) failed: {result.reason}")
    if done:
        tell(f"the front by {', '.join(objective.name for objective in objectives)}: {out / 'front.md'}")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
