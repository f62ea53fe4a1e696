"""The command line: `python -m training run RECIPE.yaml --out DIR`, `stage DIR`, `presets`.

The one place in `training` that prints and reads the environment. What it asks of a stage it asks as a worker does:
through job.json, a process of its own, and the stage's report stream.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, get_args

# Before anything imports the hub's client: nothing is told about what runs here.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that wait for one another give the core away: beside a web server and workers on two cores, spinning made a
# training step take four times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from training.config import Recipe, check_recipe, parse_recipe, shipped_recipe  # noqa: E402
from training.data import data_files  # noqa: E402
from training.data.file_cache import bad_rows_notice, kept_files  # noqa: E402
from training.errors import BadSettings, TrainingError  # noqa: E402
from training.judges import addresses  # noqa: E402
from training.judges.choose import use_key  # noqa: E402
from training.run import jobs  # noqa: E402
from training.run.artifacts import is_complete, read_json, write_json  # noqa: E402
from training.run.checks import check_run  # noqa: E402
from training.run.event_stream import EventReader  # noqa: E402
from training.run.events import MetricEvent, ProgressEvent  # noqa: E402
from training.run.model_names import ModelHome, models_at  # noqa: E402
from training.run.pipeline import StagePlan, identities, plan  # noqa: E402
from training.stages import runner  # noqa: E402

Preset = Literal["demo", "small_gpu", "large_gpu"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Multi-objective RL from AI feedback.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a recipe, or go on with it; what is complete is not done again")
    run.add_argument("recipe", help="a YAML file, or the name of a preset")
    run.add_argument("--out", type=Path, required=True, help="the folder of the run")
    _add_models_option(run)
    run.add_argument("--stage-only", metavar="NAME", help="run this one stage; what it reads must be complete")
    stage = commands.add_parser("stage", help="run one stage from its job.json")
    stage.add_argument("folder", type=Path)
    stage.add_argument("--die-with-parent", action="store_true", help="stop when the parent process goes away")
    commands.add_parser("presets", help="list the recipes that come with Concord")
    paper = commands.add_parser("paper", help="do the paper's experiments again, or go on with them; write the report")
    paper.add_argument("--out", type=Path, required=True, help="the folder of the experiment")
    _add_models_option(paper)
    paper.add_argument("--recipe", help="a YAML file, or the name of a preset; without it: the demo world")
    paper.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="repetitions of PPO and evaluation")
    paper.add_argument("--jobs", type=int, default=2, help="stages at a time")
    paper.add_argument("--phases", type=int, help="PPO phases of every policy, in place of the recipe's")
    paper.add_argument("--single", type=int, default=4, help="single-principle baselines at most, the weightiest")
    paper.add_argument("--docs", type=Path, help="a folder that gets paper.md and images/paper/ as well")
    options = parser.parse_args(arguments)
    try:
        if options.command == "presets":
            return _presets()
        if options.command == "stage":
            return _stage(options.folder, options.die_with_parent)
        with models_at(ModelHome(options.models)):
            if options.command == "paper":
                return _paper(options)
            return _run(_read_recipe(options.recipe), options.out, options.stage_only)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return jobs.FAILED


def _add_models_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help=(
        "the folder in which a base's name is looked up before the hub is asked (default: ./models); a path that "
        "begins with / or ./ is taken as it is"))


def _presets() -> int:
    for name in get_args(Preset):
        recipe = shipped_recipe(name)
        print(f"{name:10}  {recipe.name}: {len(recipe.principles)} principles, policy {recipe.policy.base}, "
              f"{recipe.ppo.steps} PPO phases of {recipe.ppo.batch_size}")
    return 0


def _read_recipe(name: str) -> Recipe:
    path = Path(name)
    if path.is_file():
        return parse_recipe(path.read_text(encoding="utf-8"))
    for preset in get_args(Preset):
        if name == preset:
            return shipped_recipe(preset)
    raise BadSettings(f"There is no recipe file '{name}'.",
                      f"Give a YAML file or one of {', '.join(get_args(Preset))}.")


def _stage(folder: Path, die_with_parent: bool) -> int:
    if not (folder / "job.json").is_file():
        raise BadSettings(f"There is no job.json in {folder}.", "Give the folder of a prepared stage.")
    variable = jobs.read_job(folder).runtime.get("judge", {}).get("api_key_env", "")
    if variable:
        use_key(os.environ.get(variable, ""))
    if (listed := os.environ.get(addresses.VARIABLE)) is not None:
        addresses.use_allowed_hosts(host.strip() for host in listed.split(",") if host.strip())
    code = _in_company(folder, die_with_parent) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else runner.run_stage(
        folder, die_with_parent)
    if code == jobs.LOCKED:
        print(f"{folder.name}: another process has this stage", file=sys.stderr)
    return code


def _in_company(folder: Path, die_with_parent: bool) -> int:
    """The stage in several processes, as `accelerate launch` starts them: the first one is the stage to the world."""
    job = jobs.read_job(folder)
    if job.kind != "ppo" or job.settings["ppo"].get("algorithm", "ppo") != "ppo":
        raise BadSettings(f"The stage '{job.name}' runs in one process.", "Start it without 'accelerate launch'.")
    from training.ppo import parallel

    parallel.join(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        return runner.run_stage(folder, die_with_parent) if parallel.is_main() else runner.assist(folder)
    finally:
        parallel.leave()


def _run(recipe: Recipe, out: Path, only: str | None) -> int:
    """Run every stage that is not complete, each in a process of its own, in order."""
    check_run(recipe, out)
    files = kept_files(recipe, out / "data")
    if notice := bad_rows_notice(out / "data"):
        print(notice)
    stages = plan(recipe)
    found = identities(stages, data_files.digests(files))
    folders = {stage.name: out / "stages" / found[stage.name] for stage in stages}
    write_json(out / "stages.json", {name: str(folder.relative_to(out)) for name, folder in folders.items()})
    if only is not None and only not in folders:
        raise BadSettings(f"The recipe has no stage '{only}'.", f"It has {', '.join(folders)}.")
    for stage in stages:
        if only is not None and stage.name != only:
            continue
        folder = folders[stage.name]
        if is_complete(folder):
            print(f"{stage.name}: done before")
            continue
        inputs = {role: folders[name] for role, name in stage.inputs.items()}
        unready = [name for name in stage.inputs.values() if not is_complete(folders[name])]
        if unready:
            raise BadSettings(f"'{stage.name}' reads {', '.join(unready)}, not complete yet.", "Run that first.")
        own: dict[str, Path] = {role: path for role, path in files.items() if role in stage.files}
        runtime = jobs.runtime_of(recipe, files={str(role): path for role, path in files.items()}, kind=stage.kind)
        jobs.prepare_stage(stage, found[stage.name], folder, inputs, own, runtime)
        code = _follow(stage, folder)
        if code != jobs.DONE:
            return _explain(stage, folder, code)
    print(f"done: {out}")
    return jobs.DONE


def _paper(options: argparse.Namespace) -> int:
    """Two stages of one thread each do more on two cores than one of two: the tensors of small models are small."""
    from training.config.paper_experiment import demo_recipe
    from training.paper.command import reproduce

    recipe = _read_recipe(options.recipe) if options.recipe else demo_recipe()
    if options.phases is not None:
        whole_recipe = recipe.model_dump(mode="json")
        whole_recipe["ppo"]["steps"] = options.phases
        recipe = check_recipe(whole_recipe)
    if recipe.judge.api_key_env:
        use_key(os.environ.get(recipe.judge.api_key_env, ""))
    threads = max(1, (os.cpu_count() or 1) // max(1, options.jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    given = [f"--recipe {Path(options.recipe).name}"] if options.recipe else []
    given += [f"--seeds {' '.join(map(str, options.seeds))}", f"--jobs {options.jobs}"]
    given += [f"--phases {options.phases}"] if options.phases is not None else []
    command = f"python -m training paper --out DIR {' '.join(given)}"
    whole = reproduce(recipe, options.out, command, environment, lambda line: print(line, flush=True),
                      seeds=options.seeds, jobs=options.jobs, single=options.single, docs=options.docs)
    return jobs.DONE if whole else jobs.STOPPED


def _follow(stage: StagePlan, folder: Path) -> int:
    """Start the stage's process and print its progress on one line; Ctrl-C asks it to stop and waits."""
    # A session of its own, so that Ctrl-C reaches the stage once, through us.
    process = subprocess.Popen([*jobs.stage_command(folder), "--die-with-parent"], start_new_session=True)
    started, shown, tail = time.monotonic(), "", _Tail(folder / "events.jsonl")
    while True:
        try:
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            code = None
        except KeyboardInterrupt:
            print(f"\n{stage.name}: stopping at the next safe point")
            process.send_signal(signal.SIGTERM)
            continue
        line = f"{stage.name}: {tail.line()}"
        if sys.stdout.isatty() and line != shown:
            print(f"\r\033[K{line}", end="", flush=True)
            shown = line
        if code is not None:
            seconds = time.monotonic() - started
            print(f"{chr(13) if shown else ''}{line} ({seconds:.0f} s)", flush=True)
            return code


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


def _explain(stage: StagePlan, folder: Path, code: int) -> int:
    if code == jobs.STOPPED:
        print(f"{stage.name}: stopped; the same command goes on from here")
    elif (folder / "failure.json").is_file():
        failure = read_json(folder / "failure.json")
        print(f"{stage.name} failed ({failure['kind']}): {failure['cause']} {failure['remedy']}", file=sys.stderr)
        print(f"details: {folder / 'failure.json'}", file=sys.stderr)
    elif code != jobs.LOCKED:
        print(f"{stage.name}: the process ended with code {code}; the same command tries again", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
