"""Run one stage in this process, for the command line or a worker. Torch is imported only by stages that need it.

`run_stage` returns an exit code of `training.run.jobs`; with several processes per stage the main one calls it, and the
others call `assist`. Left out: starting the processes (the caller does).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from training.config import DEMO_WORLD
from training.errors import DiskFull, OutOfMemory, StopRequested, TrainingError, is_out_of_memory
from training.run.artifacts import Job, is_complete, write_json, write_manifest
from training.run.checks import check_job
from training.run.jobs import DONE, FAILED, LOCKED, STOPPED, read_job
from training.run.model_names import ModelHome, models_at
from training.run.pipeline import Kind
from training.run.reporting import EventFile, NullReporter, Reporter

StageFunction = Callable[[Job, Path, Reporter], None]

# What to lower on OOM, best first: section and key of the stage's settings, and the lowest value allowed.
_MEMORY_SETTINGS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "sft": (("sft", "batch_size", 1), ("sft", "max_length", 16)),
    "sample": (("sample", "batch_size", 1), ("sample", "max_new_tokens", 1)),
    "preference_model": (("preference_model", "batch_size", 1), ("preference_model", "max_length", 16)),
    # micro_batch: scoring, and learning on a CPU; on a GPU the engine has halved it already. batch_size: answering.
    "ppo": (("ppo", "micro_batch", 1), ("ppo", "batch_size", 2), ("ppo", "max_new_tokens", 1)),
    "evaluate": (("evaluate", "max_new_tokens", 1), ("evaluate", "prompts", 2)),
}

# How torch and safetensors, which set no errno, say that the disk is full.
_FULL = ("no space left on device", "pytorchstreamwriter failed writing")


def stage_function(kind: str) -> StageFunction:
    """The function that runs a stage of this kind; its module is imported here, and torch with it where it needs torch.

    Raises:
        ValueError: there is no such kind of stage.
    """
    match kind:
        case "sft":
            from training.stages.sft import run
        case "sample":
            from training.stages.sample import run
        case "draw":
            from training.stages.draw import run
        case "label":
            from training.stages.label import run
        case "preference_model":
            from training.stages.preference_model import run
        case "weights":
            from training.stages.weights import run
        case "ppo":
            from training.stages.ppo import run
        case "evaluate":
            from training.stages.evaluate import run
        case _:
            raise ValueError(f"no stage is called {kind!r}, only {', '.join(get_args(Kind))}")
    return run


def run_stage(folder: Path, die_with_parent: bool = False) -> int:
    """Run the stage in `folder` and return the exit code; a stage that is already complete is not run again.

    SIGTERM and SIGINT ask it to stop at its next safe point; with `die_with_parent` so does the end of the parent
    process.
    """
    with _lock(folder / "lock") as ours:
        if not ours:
            return LOCKED
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
    """Run the stage in a process other than rank 0: it writes nothing and stops when rank 0 does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    job = read_job(folder)
    try:
        with models_at(ModelHome.from_json(job.runtime.get("models", {}))):
            stage_function(job.kind)(job, folder, NullReporter())
    except StopRequested:
        return STOPPED
    return DONE


def _run(job: Job, folder: Path, reporter: EventFile) -> int:
    try:
        run = stage_function(job.kind)
        if to_know := check_job(job, folder):
            reporter.warning("prompts_cut", to_know)
        preflight = job.runtime.get("preflight", {})
        if any(base != DEMO_WORLD for base in preflight.get("bases", {}).values()):
            from training.models.preflight import check

            check(preflight, reporter, measure=job.kind == "label")
        run(job, folder, reporter)
        write_manifest(folder)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return DONE
    except StopRequested:
        reporter.log("stopped on request; it continues from its checkpoint when resumed")
        return STOPPED
    except Exception as error:  # the outermost boundary: any failure is recorded
        shutil.rmtree(folder / "checkpoint" / "unfinished", ignore_errors=True)  # frees space on a full disk
        failure = describe(error, job) | {"details": traceback.format_exc()}
        write_json(folder / "failure.json", failure)
        reporter.log(f"{failure['cause']} {failure['remedy']}", level="error")
        return FAILED


def describe(error: BaseException, job: Job) -> dict[str, str]:
    """`kind`, `cause` and `remedy` of a failure, in words for the person who started the run."""
    text = str(error).lower()
    says_more = isinstance(error, OutOfMemory) and type(error) is not OutOfMemory  # a subclass has its own remedy
    if is_out_of_memory(error) and not says_more:
        return {"kind": OutOfMemory.kind, "cause": "The device ran out of memory.",
                "remedy": _oom_remedy(job)}
    if getattr(error, "errno", None) == errno.ENOSPC or any(sign in text for sign in _FULL):
        return {"kind": DiskFull.kind, "cause": "The disk is full. What was saved before is whole.",
                "remedy": "Free some space, then resume: it goes on from the last checkpoint."}
    if isinstance(error, TrainingError):
        return {"kind": error.kind, "cause": error.cause, "remedy": error.remedy}
    return {"kind": "bug", "cause": f"An unexpected error: {type(error).__name__}: {error}.",
            "remedy": "This should not happen: report it with the details below. Resuming may help."}


def _oom_remedy(job: Job) -> str:
    if job.kind in {"sft", "ppo"} and "policy" in job.settings and job.settings["policy"].get("lora", {}) is None:
        return ("Train an adapter instead of every weight, 'policy.lora: {r: 16, alpha: 32}', which takes a fraction "
                f"of the memory. Or: {_lower_remedy(job)}")
    return _lower_remedy(job)


def _lower_remedy(job: Job) -> str:
    for section, key, least in _MEMORY_SETTINGS.get(job.kind, ()):
        value = job.settings.get(section, {}).get(key)
        if isinstance(value, int) and value // 2 >= least:
            return f"Lower '{section}.{key}' from {value} to {value // 2}, then start it again."
    return "Choose a smaller base model, or a machine with more memory."


@contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Whether this process holds the stage's lock; the system releases it when the process ends."""
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
