"""`python -m training paper`: train every arm, measure, and write the report. Complete stages are not run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.config import Recipe, as_yaml
from training.config.paper_experiment import MOST_SINGLE, arms, repetitions, wants_small_models
from training.data.file_cache import cached_data_files
from training.errors import BadSettings
from training.paper.measures import Experiment
from training.paper.overall import Overall
from training.paper.report import results, write_report
from training.paper.schedule import carry_out, works
from training.paper.small_base import LAYERS, make_small_base
from training.run.artifacts import write_text
from training.run.event_stream import read_events
from training.run.stage_server import Forked, plainly


def reproduce(
    recipe: Recipe, out: Path, command: str, environment: Mapping[str, str], tell: Callable[[str], None], *,
    seeds: Sequence[int] = (0, 1, 2), jobs: int = 2, single: int = MOST_SINGLE, docs: Path | None = None,
    forked: Forked = plainly,
) -> bool:  # fmt: skip
    """Run the experiment in `out` and write its report; False if it was interrupted and can be resumed.

    Args:
        recipe: the multi-objective run; every arm is made of it.
        command: what was typed, for the report.
        environment: of the stages' processes.
        seeds: repetitions of PPO and evaluation, each once.
        jobs: stages at a time.
        single: single-principle baselines at most.
        docs: a folder that gets paper.md and images/paper/ as well.
        forked: makes of a stage's command the one that is run; see `stage_server.forking`.

    Raises:
        BadSettings: no seed, a seed twice, or no job.
        StageFailed, BadData, ModelUnavailable, JudgeUnavailable: see there.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise BadSettings(f"'--seeds {' '.join(map(str, seeds))}' names no seed, a negative one, or one twice.",
                          "Give different whole numbers, for example --seeds 0 1 2.")
    if jobs < 1:
        raise BadSettings(f"'--jobs {jobs}' leaves nobody to work.", "Give at least 1.")
    write_text(out / "recipe.yaml", as_yaml(recipe))
    small = {layers: make_small_base(recipe.policy.base, out / f"base_of_{layers}_layers", layers)
             for layers in LAYERS} if wants_small_models(recipe) else {}
    files = cached_data_files(recipe, out / "data")
    all_arms = arms(recipe, single, small)
    todo = works([run for arm in all_arms for run in repetitions(arm, seeds)], files, out / "stages")
    if not carry_out(todo, files, jobs, environment, tell, forked):
        return False
    tell("measuring")
    experiment = Experiment(all_arms, seeds, files, out / "stages", Overall(recipe.judge, out / "verdicts.jsonl"))
    write_report(results(experiment), out, command, sum(map(_minutes, (work.folder for work in todo))), docs)
    tell(f"done: {out / 'report.md'}")
    return True


def _minutes(folder: Path) -> float:
    """From the first event of a stage to its last."""
    times = [event["time"] for _, event in read_events(folder / "events.jsonl")]
    return (times[-1] - times[0]) / 60 if times else 0.0
