"""All stages of many recipes, each once, several at a time. Torch-free: each stage is a separate process.

A stage is done when its folder holds a manifest, so that a killed command resumes where it was. Left out: retries, and
stages on other machines.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import Recipe
from training.data.data_files import FileRole, digests
from training.errors import TrainingError
from training.judges.sibling_labels import labels_of_siblings
from training.run.artifacts import is_complete, read_json
from training.run.jobs import DONE, prepare_stage, runtime_of, stage_command
from training.run.pipeline import StagePlan, identities, needs_torch, plan
from training.run.stage_server import Forked, plainly

POLL_SECONDS = 0.2


class StageFailed(TrainingError):
    """A stage of the experiment failed."""

    kind = "stage"


@dataclass(frozen=True)
class Work:
    """One stage that some recipes share. `needs` are the folders of what it reads, by role; `after` those of stages
    that come first where they are to be run too (`StagePlan.after`)."""

    plan: StagePlan
    identity: str
    folder: Path
    needs: dict[str, Path]
    recipe: Recipe
    after: tuple[Path, ...] = ()


def stage_folders(recipe: Recipe, files: Mapping[FileRole, Path], store: Path) -> dict[str, Path]:
    """The folder of each stage of a recipe, by the stage's name."""
    return {name: store / identity for name, identity in identities(plan(recipe), digests(files)).items()}


def works(recipes: Iterable[Recipe], files: Mapping[FileRole, Path], store: Path) -> list[Work]:
    """Every stage of the recipes once, each after what it reads."""
    by_folder: dict[Path, Work] = {}
    for recipe in recipes:
        folders = stage_folders(recipe, files, store)
        for stage in plan(recipe):
            folder = folders[stage.name]
            needs = {role: folders[name] for role, name in stage.inputs.items()}
            after = tuple(folders[name] for name in stage.after)
            by_folder.setdefault(folder, Work(stage, folder.name, folder, needs, recipe, after))
    return list(by_folder.values())


def carry_out(todo: Sequence[Work], files: Mapping[FileRole, Path], jobs: int, environment: Mapping[str, str],
              tell: Callable[[str], None], forked: Forked = plainly) -> bool:
    """Run the stages that are not complete, `jobs` at a time; False if interrupted (Ctrl-C stops at safe points).

    Args:
        environment: of the stages' processes.
        tell: called with a line whenever a stage ends.
        forked: makes of a stage's command the one that is run, where the stage needs torch.

    Raises:
        StageFailed: naming the stage, its cause and its remedy, after the stages that run in parallel have stopped.
    """
    waiting = [work for work in todo if not is_complete(work.folder)]
    awaited = {work.folder for work in waiting}
    total, running = len(waiting), dict[Path, tuple[Work, subprocess.Popen[bytes], float]]()
    tell(f"{len(todo)} stages, {len(todo) - total} of them already complete")
    try:
        while waiting or running:
            for work in [work for work in waiting if all(map(is_complete, work.needs.values()))
                         and all(is_complete(folder) for folder in work.after if folder in awaited)]:
                if len(running) < jobs:
                    waiting.remove(work)
                    running[work.folder] = work, _start(work, files, environment, forked), time.monotonic()
            for work, process, started in list(running.values()):
                if (code := process.poll()) is None:
                    continue
                del running[work.folder]
                if code != DONE:
                    raise _failure(work, code)
                done = total - len(waiting) - len(running)
                tell(f"{done}/{total}  {work.plan.name} of '{work.recipe.name}' ({time.monotonic() - started:.0f} s)")
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        tell("stopping at the next safe points; run the same command to continue")
        return False
    finally:
        for _, process, _ in running.values():
            process.send_signal(signal.SIGTERM)
        for _, process, _ in running.values():
            process.wait()
    return True


def _start(work: Work, files: Mapping[FileRole, Path], environment: Mapping[str, str],
           forked: Forked) -> subprocess.Popen[bytes]:
    own = {str(role): path for role, path in files.items() if role in work.plan.files}
    own |= labels_of_siblings(work.plan, work.folder, work.after)
    prepare_stage(work.plan, work.identity, work.folder, work.needs, own, runtime_of(work.recipe, kind=work.plan.kind))
    command: Sequence[str] = [*stage_command(work.folder), "--die-with-parent"]
    command = forked(command) if needs_torch(work.plan.kind, work.plan.settings) else command
    with (work.folder / "output.log").open("ab") as output:
        return subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True)


def _failure(work: Work, code: int) -> StageFailed:
    if (work.folder / "failure.json").is_file():
        failure = read_json(work.folder / "failure.json")
        cause, remedy = failure["cause"], failure["remedy"]
    else:
        cause, remedy = f"Its process ended with code {code}.", f"Look at {work.folder / 'output.log'}, then try again."
    return StageFailed(f"{work.plan.name} of '{work.recipe.name}' failed: {cause}", remedy)
