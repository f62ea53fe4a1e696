"""Run one stage in this process, whoever asked for it: the command line or a worker. Torch-free until the stage is not.

The exit code says how it ended: 0 done, 75 stopped on request with a checkpoint, 73 another process has the stage,
1 failed with the reason in failure.json. Left out: starting the process (the caller does), several processes a stage.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from training.artifacts import Job, is_complete, read_json, write_json, write_manifest
from training.checks import bases_of, check_job
from training.config import DEMO_WORLD, Recipe
from training.config.judge import BUDGETS, PACE
from training.errors import DiskFull, OutOfMemory, StopRequested, TrainingError
from training.model_names import ModelHome, model_home, models_at
from training.pipeline import Kind, StagePlan, plan
from training.reporting import EventFile

DONE, FAILED, TAKEN, STOPPED = 0, 1, 73, 75

# What to lower when memory runs out, best first: section and key of the stage's settings, and the least it may be.
_APPETITE: dict[str, tuple[tuple[str, str, int], ...]] = {
    "sft": (("sft", "batch_size", 1), ("sft", "max_length", 16)),
    "sample": (("sample", "batch_size", 1), ("sample", "max_new_tokens", 1)),
    "label": (("judge", "max_pairs", 8),),
    "preference_model": (("preference_model", "batch_size", 1), ("preference_model", "max_length", 16)),
    "ppo": (("ppo", "micro_batch", 1), ("ppo", "max_new_tokens", 1)),
    "evaluate": (("evaluate", "max_new_tokens", 1), ("evaluate", "prompts", 2)),
}

# How torch and safetensors, which know no errno, say that the disk is full.
_FULL = ("no space left on device", "pytorchstreamwriter failed writing")

def runtime_of(recipe: Recipe, home: ModelHome | None = None, files: Mapping[str, Path] | None = None,
               kind: str = "label") -> dict[str, Any]:
    """What a stage of this kind is told beside its identity: where names of models are looked up, what is to be looked
    at before anything is drawn or bought, and the judge's pace, account, prices and budget.

    Each stage that asks the judge gets the share of the run's budget that its questions are of all questions, so that
    together they keep it, however many run at once. Principles are labelled on the same pairs: their shares are equal.

    Args:
        home: where names of models are looked up; None: as set for this process.
        files: all data files of the run by role.
        kind: whose share of the budget it gets.
    """
    account = {name: value for name, value in recipe.judge.model_dump(mode="json").items() if name in PACE}
    share = budget_share(recipe, kind)
    for name in BUDGETS:
        if account[name]:
            account[name] = account[name] * share if name == "budget_money" else max(1, int(account[name] * share))
    lengths = {"preference_model.max_length": recipe.preference_model.max_length} | {
        f"{name}.max_new_tokens": section.max_new_tokens
        for name, section in (("sample", recipe.sample), ("ppo", recipe.ppo), ("evaluate", recipe.evaluate))}
    read = {role for stage in plan(recipe) for role in stage.files}
    preflight = {"bases": bases_of(recipe), "lengths": lengths,
                 "files": {role: str(path.resolve()) for role, path in (files or {}).items() if role in read}}
    return {"judge": account, "models": (home or model_home()).to_json(), "preflight": preflight}


def budget_share(recipe: Recipe, kind: str) -> float:
    """The part of the judge's budget that one stage of this kind may spend: a label stage, or the evaluation."""
    pairs = recipe.sample.count if recipe.sample.pairs == "sampled" else recipe.data.limit
    labels = min(pairs, recipe.judge.max_pairs)
    policies = 2 if recipe.evaluate.best_of else 1
    verdicts = min(recipe.evaluate.prompts, recipe.data.held_out) * (1 + len(recipe.principles)) * policies
    stages = max(1, sum(stage.kind == "label" for stage in plan(recipe)))
    return (verdicts if kind == "evaluate" else labels) / max(1, stages * labels + verdicts)


def prepare_stage(plan: StagePlan, identity: str, folder: Path, inputs: Mapping[str, Path], files: Mapping[str, Path],
                  runtime: Mapping[str, Any] | None = None) -> Job:
    """Write the job.json of a stage.

    Args:
        inputs: folders of complete stages by role, all roles of `plan.inputs`.
        files: data files by role, those of `plan.files` and any of "labels", "known_labels".
        runtime: see `runtime_of`; what is the judge's is given to the stages that ask one, and what is to be looked at
            first to those that no other comes before.
    """
    beside = dict(runtime or {})
    if "judge" not in plan.settings:
        beside.pop("judge", None)
    if plan.kind not in {"sft", "sample", "label"} or "sample" in plan.inputs or "sft" in plan.inputs:
        beside.pop("preflight", None)
    job = Job(name=plan.name, kind=plan.kind, identity=identity, settings=plan.settings,
              inputs={role: inputs[role].resolve() for role in plan.inputs},
              files={role: path.resolve() for role, path in files.items()}, runtime=beside)
    write_json(folder / "job.json", job.model_dump(mode="json"))
    return job


def stage_command(folder: Path) -> list[str]:
    """The command that runs the stage prepared in `folder`."""
    return [sys.executable, "-m", "training", "stage", str(folder)]


def read_job(folder: Path) -> Job:
    return Job.model_validate(read_json(folder / "job.json"))


def run_stage(folder: Path, die_with_parent: bool = False) -> int:
    """Run the stage in `folder` and return the exit code; a stage that is complete already is left as it is.

    SIGTERM and SIGINT ask it to stop at its next safe point; so does, with `die_with_parent`, the parent's end.
    """
    with _lock(folder / "lock") as ours:
        if not ours:
            return TAKEN
        if is_complete(folder):
            return DONE
        job = read_job(folder)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        if die_with_parent:
            threading.Thread(target=_watch_parent, args=(os.getppid(), stop), daemon=True).start()
        (folder / "failure.json").unlink(missing_ok=True)
        reporter = EventFile(folder / "events.jsonl", stop.is_set)
        try:
            with models_at(ModelHome.from_json(job.runtime.get("models", {}))):
                return _run(job, folder, reporter)
        finally:
            reporter.close()


def assist(folder: Path) -> int:
    """Run the stage as one of several processes that is not the main one: it writes nothing and stops with that."""
    from training.parallel import Silent

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    job = read_job(folder)
    try:
        with models_at(ModelHome.from_json(job.runtime.get("models", {}))):
            importlib.import_module(f"training.stages.{job.kind}").run(job, folder, Silent())
    except StopRequested:
        return STOPPED
    return DONE


def _run(job: Job, folder: Path, reporter: EventFile) -> int:
    try:
        if job.kind not in get_args(Kind):
            raise ValueError(f"no stage is called {job.kind!r}")
        if to_know := check_job(job, folder):
            reporter.warning("prompts_cut", to_know)
        preflight = job.runtime.get("preflight", {})
        if any(base != DEMO_WORLD for base in preflight.get("bases", {}).values()):
            importlib.import_module("training.preflight").check(preflight, reporter,
                                                                measure=job.kind == "label")
        importlib.import_module(f"training.stages.{job.kind}").run(job, folder, reporter)
        write_manifest(folder)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return DONE
    except StopRequested:
        reporter.log("stopped on request; it goes on from here when resumed")
        return STOPPED
    except Exception as error:  # the boundary: whatever it is, it is written down for the person who started the run
        shutil.rmtree(folder / "checkpoint" / "unfinished", ignore_errors=True)  # on a full disk: room for the reason
        failure = describe(error, job) | {"details": traceback.format_exc()}
        write_json(folder / "failure.json", failure)
        reporter.log(f"{failure['cause']} {failure['remedy']}", level="error")
        return FAILED


def describe(error: BaseException, job: Job) -> dict[str, str]:
    """`kind`, `cause` and `remedy` of a failure, in words for the person who started the run."""
    text = str(error).lower()
    if isinstance(error, (OutOfMemory, MemoryError)) or type(error).__name__ == "OutOfMemoryError" or (
            isinstance(error, RuntimeError) and ("out of memory" in text or "not enough memory" in text)):
        return {"kind": OutOfMemory.kind, "cause": "The memory of the device was not enough.", "remedy": _diet(job)}
    if getattr(error, "errno", None) == errno.ENOSPC or any(sign in text for sign in _FULL):
        return {"kind": DiskFull.kind, "cause": "The disk is full. What was saved before is whole.",
                "remedy": "Free some space, then resume: it goes on from the last checkpoint."}
    if isinstance(error, TrainingError):
        return {"kind": error.kind, "cause": error.cause, "remedy": error.remedy}
    return {"kind": "bug", "cause": f"An unexpected error: {type(error).__name__}: {error}.",
            "remedy": "This should not happen: report it with the details below. Resuming may help."}


def _diet(job: Job) -> str:
    for section, key, least in _APPETITE.get(job.kind, ()):
        value = job.settings.get(section, {}).get(key)
        if isinstance(value, int) and value // 2 >= least:
            return f"Lower '{section}.{key}' from {value} to {value // 2}, then start it again."
    return "Choose a smaller base model, or a machine with more memory."


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether this process has the stage; the lock goes with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _watch_parent(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    stop.set()
