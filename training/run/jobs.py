"""What a stage is given: its job.json, the command that runs it, and what its exit codes mean. Torch-free.

Exit codes: 0 done, 75 stopped on request with a checkpoint, 73 another process holds the stage's lock, 1 failed with
the reason in failure.json.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import Recipe
from training.config.judge import BUDGETS, RUNTIME_ONLY
from training.run.artifacts import Job, read_json, write_json
from training.run.checks import bases_of
from training.run.model_names import ModelHome, model_home
from training.run.pipeline import StagePlan, measuring_judges, plan, shared_principles

DONE, FAILED, LOCKED, STOPPED = 0, 1, 73, 75

WITHOUT_TEXTS = frozenset({"ratings", "references"})  # data files that hold no prompts for a model to read
CHECKED = frozenset({"preference_model", "weights"})  # kinds that test whether models are better than a coin


def runtime_of(recipe: Recipe, home: ModelHome | None = None, files: Mapping[str, Path] | None = None,
               kind: str = "label") -> dict[str, Any]:
    """The runtime settings of a stage of this kind, outside its identity: where names of models are looked up, what
    preflight checks, the judge's rates, account, prices and budget, the principles that are asked about together, and
    whether the run stops where its preference models are no better than a coin, and how many rollouts are kept.

    Each stage that asks the judge gets a share of the run's budget in proportion to its questions, so that together
    they stay within it, however many run at once. Principles are labelled on the same pairs, so their shares are equal.

    Args:
        home: where names of models are looked up; None: as set for this process.
        files: all data files of the run by role.
        kind: whose share of the budget it gets.
    """
    account = {name: value for name, value in recipe.judge.model_dump(mode="json").items() if name in RUNTIME_ONLY}
    share = budget_share(recipe, kind)
    for name in BUDGETS:
        if account[name]:
            account[name] = account[name] * share if name == "budget_money" else max(1, int(account[name] * share))
    lengths = {"preference_model.max_length": recipe.preference_model.max_length} | {
        f"{name}.max_new_tokens": section.max_new_tokens
        for name, section in (("sample", recipe.sample), ("ppo", recipe.ppo), ("evaluate", recipe.evaluate))}
    roles = {role for stage in plan(recipe) for role in stage.files} - WITHOUT_TEXTS
    preflight = {"bases": bases_of(recipe), "lengths": lengths,
                 "files": {role: str(path.resolve()) for role, path in (files or {}).items() if role in roles}}
    checks = ({"stop_at_chance": recipe.preference_model.stop_at_chance, "measured": sorted(measuring_judges(recipe))}
              if kind in CHECKED else {})
    rollouts = {"keep_rollouts": recipe.ppo.keep_rollouts} if kind == "ppo" else {}
    siblings = {"siblings": shared} if kind == "label" and (shared := shared_principles(recipe)) else {}
    models = (home or model_home()).to_json()
    return siblings | checks | rollouts | {"judge": account, "models": models, "preflight": preflight}


def budget_share(recipe: Recipe, kind: str) -> float:
    """The part of the judge's budget that one stage of this kind may spend: a label stage, or the evaluation."""
    pairs = recipe.sample.count if recipe.sample.pairs == "sampled" else recipe.data.limit
    labels = min(pairs, recipe.judge.max_pairs)
    policies = 2 if recipe.evaluate.best_of else 1
    judged = sum(choice.measure is None for choice in recipe.principles)
    verdicts = min(recipe.evaluate.prompts, recipe.data.held_out) * (1 + judged) * policies
    stages = max(1, sum(stage.kind == "label" and "measure" not in stage.settings["judge"] for stage in plan(recipe)))
    return (verdicts if kind == "evaluate" else labels) / max(1, stages * labels + verdicts)


def prepare_stage(plan: StagePlan, identity: str, folder: Path, inputs: Mapping[str, Path], files: Mapping[str, Path],
                  runtime: Mapping[str, Any] | None = None) -> Job:
    """Write the job.json of a stage.

    Args:
        inputs: folders of complete stages by role, all roles of `plan.inputs`.
        files: data files by role, those of `plan.files` and any of "labels", "known_labels".
        runtime: see `runtime_of`; the judge's part is given to the stages that ask one, siblings to label stages, and
            preflight to the stages without an earlier one.
    """
    stage_runtime = dict(runtime or {})
    if "judge" not in plan.settings:
        stage_runtime.pop("judge", None)
    siblings = stage_runtime.pop("siblings", {})
    if others := {name: words for name, words in siblings.items() if name != plan.principle and plan.kind == "label"}:
        stage_runtime["siblings"] = others
    if plan.kind not in {"sft", "sample", "label"} or "sample" in plan.inputs or "sft" in plan.inputs:
        stage_runtime.pop("preflight", None)
    job = Job(name=plan.name, kind=plan.kind, identity=identity, settings=plan.settings,
              inputs={role: inputs[role].resolve() for role in plan.inputs},
              files={role: path.resolve() for role, path in files.items()}, runtime=stage_runtime)
    write_json(folder / "job.json", job.model_dump(mode="json"))
    return job


def stage_command(folder: Path) -> list[str]:
    """The command that runs the stage prepared in `folder`."""
    return [sys.executable, "-m", "training", "stage", str(folder)]


def read_job(folder: Path) -> Job:
    return Job.model_validate(read_json(folder / "job.json"))
