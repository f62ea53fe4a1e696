"""The command line: `python -m training run RECIPE.yaml --out DIR`, `plan RECIPE.yaml`, `stage DIR`, `mix OUT`.

The one place in `training` that prints and reads the environment. What it asks of a stage it asks as a worker does:
through job.json, a process of its own, and the stage's report stream.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args


def set_defaults(environment: MutableMapping[str, str]) -> None:
    """What libraries read, where nobody has set it. The hub's client reads its own when it is imported."""
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing is told about what runs here
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait for one another give the core away: beside a web server and workers on two cores, spinning made
    # a training step take four times as long.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")


set_defaults(os.environ)

from training.config import Preset, Recipe, check_recipe, parse_recipe, shipped_recipe  # noqa: E402
from training.config.yaml_text import read_yaml_text  # noqa: E402
from training.errors import BadSettings, TrainingError  # noqa: E402
from training.judges import addresses  # noqa: E402
from training.judges.choose import use_key  # noqa: E402
from training.recipe_run import run_recipe  # noqa: E402
from training.run import jobs  # noqa: E402
from training.run.checks import check_run  # noqa: E402
from training.run.device import Device, this_device  # noqa: E402
from training.run.memory_plan import run_memory  # noqa: E402
from training.run.model_names import ModelHome, models_at  # noqa: E402
from training.run.pipeline import plan  # noqa: E402
from training.run.stage_server import forking  # noqa: E402
from training.stages import runner  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training", description="Multi-objective RL from AI feedback.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run a recipe, or continue it; complete stages are skipped")
    run.add_argument("recipe", help="a YAML file, or the name of a preset")
    run.add_argument("--out", type=Path, required=True, help="the folder of the run")
    _add_models_option(run)
    _add_set_option(run)
    run.add_argument("--stage-only", metavar="NAME",
                     help="run only this stage; the stages it reads from must be complete")
    planned = commands.add_parser("plan", help="say which stages a recipe has and what each needs of memory")
    planned.add_argument("recipe", help="a YAML file, or the name of a preset")
    planned.add_argument("--memory", type=float, metavar="GB",
                         help="memory of the GPU it will run on (default: this machine's GPU, or its memory)")
    _add_models_option(planned)
    stage = commands.add_parser("stage", help="run one stage from its job.json")
    stage.add_argument("folder", type=Path)
    stage.add_argument("--die-with-parent", action="store_true", help="stop when the parent process ends")
    _add_export_and_answer(commands)
    _add_mix(commands)
    commands.add_parser("presets", help="list the recipes that come with Concord")
    paper = commands.add_parser("paper", help="reproduce the paper's experiments, or continue, and write the report")
    paper.add_argument("--out", type=Path, required=True, help="the folder of the experiment")
    _add_models_option(paper)
    paper.add_argument("--recipe", help="a YAML file, or the name of a preset; without it: the demo world")
    paper.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="repetitions of PPO and evaluation")
    paper.add_argument("--jobs", type=int, default=2, help="how many stages run at the same time")
    paper.add_argument("--phases", type=int, help="PPO phases of every policy, instead of the recipe's")
    paper.add_argument("--single", type=int, default=4,
                       help="at most this many single-principle baselines, those of the largest weights")
    paper.add_argument("--docs", type=Path, help="also write paper.md and images/paper/ to this folder")
    _add_sweep(commands)
    options = parser.parse_args(arguments)
    try:
        if options.command == "presets":
            return _presets()
        if options.command == "stage":
            return _stage(options.folder, options.die_with_parent)
        if options.command == "export":
            return _export(options.folder, options.out)
        if options.command == "answer":
            return _answer(options.job, options.out)
        if options.command == "mix":
            return _mix(options.policy, options.out)
        with models_at(ModelHome(options.models)):
            if options.command == "paper":
                return _paper(options)
            if options.command == "sweep":
                from training.sweep.command import run_sweep

                return run_sweep(options.sweep, options.out, dry=options.dry_run, fork=_may_fork(), tell=_print,
                                 tell_error=partial(_print, file=sys.stderr))
            if options.command == "plan":
                return _plan(_read_recipe(options.recipe), options.memory)
            return run_recipe(_read_recipe(options.recipe, options.set), options.out, options.stage_only, _may_fork(),
                              tell=_print, tell_error=partial(_print, file=sys.stderr))
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return jobs.FAILED


def _add_export_and_answer(commands: Any) -> None:
    export = commands.add_parser("export", help="write the model of a finished stage for transformers")
    export.add_argument("folder", type=Path, help="the folder of a ppo or preference_model stage")
    export.add_argument("--out", type=Path, required=True, help="the folder of the model, which must not exist")
    answer = commands.add_parser("answer", help="answers of several policies to the same prompts, for an arena")
    answer.add_argument("job", type=Path, help="the JSON file that training/policy_answers.py describes")
    answer.add_argument("--out", type=Path, required=True, help="the JSONL file to which answers are appended")


def _add_mix(commands: Any) -> None:
    mix = commands.add_parser("mix", help="mix policies on one base by weights into an adapter of its own")
    mix.add_argument("out", type=Path, help="the folder of the adapter, which must not exist")
    mix.add_argument("--policy", action="append", default=[], metavar="DIR=WEIGHT", help=(
        "the folder of a ppo stage or of an adapter, and its weight, any number; given once for each policy"))


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser("sweep", help="run many variations of a recipe, or continue, and write their front")
    sweep.add_argument("sweep", type=Path, help="a YAML file with 'recipe' and 'over': see docs/guides/sweeps.md")
    sweep.add_argument("out", type=Path, help="the folder of the sweep")
    sweep.add_argument("--dry-run", action="store_true", help="check it and say what it would run")
    _add_models_option(sweep)


def _add_models_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models", type=Path, default=Path("models"), metavar="DIR", help=(
        "the folder in which a base's name is looked up before the hub is asked (default: ./models); a path that "
        "begins with / or ./ is taken as it is"))


def _add_set_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help=(
        "a setting in place of the recipe's, such as judge.most_flips=1; may be given several times"))


_print = partial(print, flush=True)


def _may_fork() -> bool:
    """Whether stages may be forked from one process that has imported torch: CONCORD_FORK_SERVER=0 forbids it."""
    return os.environ.get("CONCORD_FORK_SERVER", "1") != "0"


def _presets() -> int:
    for name in get_args(Preset):
        recipe = shipped_recipe(name)
        print(f"{name:10}  {recipe.name}: {len(recipe.principles)} principles, policy {recipe.policy.base}, "
              f"{recipe.ppo.steps} PPO phases of {recipe.ppo.batch_size}")
    return 0


def _plan(recipe: Recipe, gigabytes: float | None) -> int:
    """Print the stages and the memory of each kind; nothing is loaded or written."""
    if gigabytes is not None and not 0 < gigabytes < 1e6:
        raise BadSettings(f"'--memory' is {gigabytes:g}.", "Give the GPU's memory in GB, such as 24.")
    check_run(recipe)
    device = this_device(recipe.device) if gigabytes is None else Device(int(gigabytes * 1e9), True, "a GPU")
    counts = Counter(stage.kind for stage in plan(recipe))
    memory = run_memory(recipe, device)
    needs = {stage.kind: stage for stage in memory.stages}
    print(f"{recipe.name}: {counts.total()} stages on {device.name} ({device.total / 1e9:.1f} GB of memory)")
    print(f"{'stage':18} {'times':>5}  {'low':>8} {'expected':>8} {'high':>8}")
    for kind, count in counts.items():
        sizes = [f"{size / 1e9:6.1f} GB"[-8:] for size in needs[kind].memory] if kind in needs else ["-", "-", "-"]
        notes = needs[kind].verdict(device) if kind in needs else ""
        print(f"{kind:18} {count:5}  {sizes[0]:>8} {sizes[1]:>8} {sizes[2]:>8}  {notes}".rstrip())
    for base in memory.unknown:
        print(f"The size of {base!r} is not known before it is downloaded.")
    return jobs.DONE


def _read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a file or a preset, with some of its settings changed: `changes` are texts "section.name=value"."""
    path = Path(name)
    if path.is_file():
        return _changed(parse_recipe(path.read_text(encoding="utf-8")), changes)
    for preset in get_args(Preset):
        if name == preset:
            return _changed(shipped_recipe(preset), changes)
    raise BadSettings(f"There is no recipe file '{name}'.",
                      f"Give a YAML file or one of {', '.join(get_args(Preset))}.")


def _changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    if not changes:
        return recipe
    values: dict[str, Any] = recipe.model_dump(mode="json")
    for change in changes:
        path, equals, value = change.partition("=")
        *sections, name = path.split(".")
        section: Any = values
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if not equals or not name or not isinstance(section, dict):
            raise BadSettings(f"'--set {change}' names no setting.", "Give it as in --set judge.most_flips=1.")
        section[name] = read_yaml_text(value)
    return check_recipe(values)


def _stage(folder: Path, die_with_parent: bool) -> int:
    if not (folder / "job.json").is_file():
        raise BadSettings(f"There is no job.json in {folder}.", "Give the folder of a prepared stage.")
    variable = jobs.read_job(folder).runtime.get("judge", {}).get("api_key_env", "")
    if variable:
        use_key(os.environ.get(variable, ""))
    if (allowed_hosts := os.environ.get(addresses.VARIABLE)) is not None:
        addresses.use_allowed_hosts(host.strip() for host in allowed_hosts.split(",") if host.strip())
    run = _as_one_of_several if int(os.environ.get("WORLD_SIZE", "1")) > 1 else runner.run_stage
    code = run(folder, die_with_parent)
    if code == jobs.LOCKED:
        print(f"{folder.name}: another process has this stage", file=sys.stderr)
    return code


def _export(folder: Path, out: Path) -> int:
    if not (folder / "job.json").is_file():
        raise BadSettings(f"There is no job.json in {folder}.", "Give the folder of a finished stage.")
    from training.export import export_stage

    export_stage(folder, out)
    _print(f"written: {out}")
    return jobs.DONE


def _answer(job: Path, out: Path) -> int:
    from training.policy_answers import answer_job

    answer_job(job, out)
    return jobs.DONE


def _mix(policies: Sequence[str], out: Path) -> int:
    weights = [_weighted(policy) for policy in policies]
    from training.models.policy_mix import Weighted, mix_policies

    mix_policies([Weighted(*policy) for policy in weights], out)
    _print(f"written: {out}")
    return jobs.DONE


def _weighted(text: str) -> tuple[Path, float]:
    """The folder and the weight of a text "DIR=WEIGHT"; the folder may have a "=" of its own."""
    folder, equals, weight = text.rpartition("=")
    try:
        number = float(weight)
    except ValueError:
        number = None
    if not equals or not folder or number is None:
        raise BadSettings(f"'--policy {text}' names no folder and weight.", "Give it as in --policy runs/polite=0.3.")
    return Path(folder), number


def _as_one_of_several(folder: Path, die_with_parent: bool) -> int:
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


def _paper(options: argparse.Namespace) -> int:
    """Two stages of one thread each do more on two cores than one of two: the tensors of small models are small."""
    from training.config.paper_experiment import demo_recipe
    from training.paper.command import reproduce

    recipe = _read_recipe(options.recipe) if options.recipe else demo_recipe()
    if options.phases is not None:
        values = recipe.model_dump(mode="json")
        values["ppo"]["steps"] = options.phases
        recipe = check_recipe(values)
    if recipe.judge.api_key_env:
        use_key(os.environ.get(recipe.judge.api_key_env, ""))
    threads = max(1, (os.cpu_count() or 1) // max(1, options.jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    flags = [f"--recipe {Path(options.recipe).name}"] if options.recipe else []
    flags += [f"--seeds {' '.join(map(str, options.seeds))}", f"--jobs {options.jobs}"]
    flags += [f"--phases {options.phases}"] if options.phases is not None else []
    command = f"python -m training paper --out DIR {' '.join(flags)}"
    with forking(allowed=_may_fork()) as forked:
        is_done = reproduce(recipe, options.out, command, environment, _print, seeds=options.seeds, jobs=options.jobs,
                            single=options.single, docs=options.docs, forked=forked)
    return jobs.DONE if is_done else jobs.STOPPED


if __name__ == "__main__":
    sys.exit(main())
