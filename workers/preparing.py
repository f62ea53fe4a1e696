"""Writes everything that a stage reads from the database into its folder, and its job.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.config import read_exactly
from training.run.artifacts import read_jsonl, write_jsonl
from training.run.jobs import prepare_stage, runtime_of, stage_command
from training.run.pipeline import StagePlan, plan, shared_principles
from webapp.judges.keys import check_key_host, saved_key
from webapp.runs import stage_inputs
from webapp.runs.model_home import models_home
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance, repoint, stages_by_name

logger = logging.getLogger("concord.workers")


class Prepared(NamedTuple):
    """A stage ready to start: its command, its file of pairs, and its judge's key (variable, and value if saved)."""

    command: Sequence[str]
    key_variable: str
    pairs: Path | None
    saved_key: str = ""

    def __repr__(self) -> str:
        return f"Prepared({self.command!r}, {self.key_variable!r}, {self.pairs!r})"  # keeps the key out of logs


def prepare(stage: Stage) -> Prepared | None:
    """Write the stage's inputs and its job.json. Returns None if no active run needs the stage in this form any more.

    Raises:
        TrainingError: the data does not fit.
    """
    runs = list(Run.objects.filter(uses__stage=stage, status=Run.Status.RUNNING).order_by("-id")
                .select_related("dataset", "team"))
    if not runs:
        return None
    run = runs[0]
    recipe = read_exactly(run.recipe)
    stages = stages_by_name(run)
    item = next(item for item in plan(recipe) if stages[item.name].pk == stage.pk)
    (stage.folder / "files").mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    shared: dict[str, Path] = {}
    if item.files:
        shared = stage_inputs.data_files(team=run.team, recipe=recipe, dataset=run.dataset, digests=run.file_digests)
        files = {role: shared[role] for role in item.files}
    if item.kind == "label":
        path = stage.folder / "files" / "known_labels.jsonl"
        siblings = {name: words for name, words in shared_principles(recipe).items() if name != item.principle}
        if stage_inputs.write_known_labels(path, team=run.team, stage_settings=item.settings, siblings=siblings):
            files["known_labels"] = path
    if item.kind in {"preference_model", "draw"}:
        corrected = _corrected_labels(stage, item, runs, stages)
        if corrected is None:
            return None
        files |= corrected
    inputs = {role: stages[name].folder for role, name in item.inputs.items()}
    runtime = runtime_of(recipe, models_home(), shared, item.kind)
    _least_strict(runtime, runs)
    prepare_stage(item, stage.identity, stage.folder, inputs, files, runtime)
    pairs = files.get("pairs") or (inputs["sample"] / "pairs.jsonl" if "sample" in inputs else None)
    command = [*stage_command(stage.folder), "--die-with-parent"]
    if "judge" not in item.settings:
        return Prepared(command, "", pairs)
    if recipe.judge.kind != "openai":
        return Prepared(command, "", pairs)  # this judge needs no key
    check_key_host(recipe.judge)
    return Prepared(command, recipe.judge.api_key_env, pairs, saved_key(team=run.team, judge=recipe.judge))


def _least_strict(runtime: dict[str, Any], runs: Sequence[Run]) -> None:
    """Where several runs wait for a stage, a check stops it only if none of them has turned it off, and it keeps what
    any of them wants to keep."""
    recipes = [read_exactly(run.recipe) for run in runs]
    runtime["judge"]["most_flips"] = max(recipe.judge.most_flips for recipe in recipes)
    if "stop_at_chance" in runtime:
        runtime["stop_at_chance"] = all(recipe.preference_model.stop_at_chance for recipe in recipes)
    if "keep_rollouts" in runtime:
        runtime["keep_rollouts"] = max(recipe.ppo.keep_rollouts for recipe in recipes)


def _corrected_labels(stage: Stage, item: StagePlan, runs: list[Run], stages: dict[str, Stage]) -> (
        dict[str, Path] | None):
    """Export corrected labels by role where there are corrections; these are part of the identity.

    Returns None if labels were corrected since the stage was planned: its runs are then moved to the new stage.
    """
    corrected: dict[str, Path] = {}
    for role, name in item.inputs.items():
        label = stages[name]
        if label.kind != "label":
            continue
        path = label.folder / "labels.jsonl"
        corrections = stage_inputs.corrections_of(team=runs[0].team, label_settings=label.settings, labels=path)
        digest = stage_inputs.corrections_digest(corrections)
        if digest != runs[0].corrections.get(label.principle, ""):
            logger.info("labels of %s were corrected: the stages that read them are replaced", label.principle)
            for run in runs:
                repoint(run=run, corrections={label.principle: digest})
                advance(run=run)
            return None
        if corrections:
            key = "labels" if role == "label" else role.replace("label:", "labels:", 1)
            corrected[key] = stage.folder / "files" / f"{key.replace(':', '-')}.jsonl"
            write_jsonl(corrected[key], stage_inputs.corrected(read_jsonl(path), corrections))
    return corrected
