"""Which stages a recipe asks for, what each reads, and what each is: its identity. Torch-free.

A stage's identity is the hash of its kind, its own settings and the identities of what it reads. What was computed
once under an identity is never computed again, whichever run asks for it.

    prompts ─► sft ─► sample ─► label ─► preference_model:* ─► weights ─► ppo ─► evaluate

A baseline draws one label per pair out of those of all principles, and has one preference model: label ─► draw ─► ...
A principle whose measure is the reward itself has no stages of its own: `weights` measures pairs, `ppo` the answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from training.config import DEMO_WORLD, Measure, Recipe
from training.config.judge import LOCAL_VERSION, RUNTIME_ONLY
from training.config.ppo import RUNTIME_ONLY as RUNTIME_ONLY_OF_PPO
from training.config.preference_model import RUNTIME_ONLY as RUNTIME_ONLY_OF_MODELS
from training.demo_world import WEIGHTS
from training.measures import version_of
from training.run import baselines
from training.run.artifacts import digest_of, file_digest

Kind = Literal["sft", "sample", "label", "draw", "preference_model", "weights", "ppo", "evaluate"]

# Raise a kind's number when a change to its code changes what it makes: old results are then not reused.
VERSIONS: dict[Kind, int] = {
    "sft": 1, "sample": 1, "label": 1, "draw": 1, "preference_model": 2, "weights": 2, "ppo": 2, "evaluate": 2,
}

SHARED = "preference_model:shared"
"""The name of the stage that trains every principle's head on one trunk."""

# Stages that need no model (a label stage unless its judge is a local model): they start without torch. Which queue
# each goes to is decided in `webapp.runs.scheduling.queue_of`.
TORCH_FREE: frozenset[Kind] = frozenset({"label", "draw", "weights"})


_PPO_AS_BEFORE = {"keep_every": 0, "group_normalise": "reward", "conditioned": False, "concentration": 1.0}
"""Settings of ppo that came later, with the value that means what was done before."""


def needs_torch(kind: str, settings: Mapping[str, Any]) -> bool:
    """Whether a stage loads a model: those that are not TORCH_FREE, and labelling by a model on this machine."""
    return kind not in TORCH_FREE or (kind == "label" and settings.get("judge", {}).get("kind") == "local")


@dataclass(frozen=True)
class StagePlan:
    """One stage of a run: `inputs` maps roles to names of earlier stages, `files` the data files it reads.

    `after` names stages that come first though nothing of theirs is read: they may make some of this one's labels
    beside their own (`shared_principles`). It is no part of the identity.
    """

    name: str
    kind: Kind
    settings: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    principle: str | None = None
    after: tuple[str, ...] = ()


def shared_principles(recipe: Recipe) -> dict[str, str]:
    """The wordings of the principles, by name, about which one label stage asks for all; none where each asks alone.

    A local judge that reads the principle last reads a pair once for all of them.
    """
    judged = {choice.name: choice.wording for choice in recipe.principles if choice.measure is None}
    labelled = [name for name in baselines.principles_to_label(recipe) if name in judged]
    if recipe.judge.kind != "local" or recipe.judge.layout != "shared_prefix" or len(labelled) < 2:
        return {}
    return {name: judged[name] for name in labelled}


def measuring_judges(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """By measured principle, the judge that its label stage asks. Nothing of the recipe's judge but the number of pairs
    is part of it."""
    return {choice.name: {"kind": "measure", "measure": choice.measure.model_dump(mode="json"),
                          "max_pairs": recipe.judge.max_pairs}
            for choice in recipe.principles if choice.measure is not None}


def plan(recipe: Recipe) -> list[StagePlan]:
    """The stages of a recipe in an order in which each comes after what it reads."""
    values = recipe.model_dump(mode="json")
    common = {key: values[key] for key in ("seed", "device", "precision")}
    repeated = common | {"seed": recipe.seed + recipe.repeat}
    policy = {"policy": values["policy"]}
    weights_by_name = baselines.reward_principles(recipe)
    names = list(weights_by_name)
    direct, charted = _without_models(recipe)
    stages: list[StagePlan] = []
    start: dict[str, str] = {}
    if recipe.sft.enabled:
        stages.append(StagePlan("sft", "sft", common | policy | {"sft": values["sft"]}, files=("dialogues",)))
        start = {"sft": "sft"}
    pairs: dict[str, str] = {}
    if recipe.sample.pairs == "sampled":
        settings = common | policy | {"sample": values["sample"]}
        stages.append(StagePlan("sample", "sample", settings, start, files=("prompts",)))
        pairs = {"sample": "sample"}
    pair_files = () if pairs else ("pairs",)
    # A judge's speed is not part of what its labels are.
    judge = {key: value for key, value in values["judge"].items() if key not in RUNTIME_ONLY}
    wordings = {choice.name: choice.wording for choice in recipe.principles}
    labelled = baselines.principles_to_label(recipe)
    measured = measuring_judges(recipe)
    shared = tuple(f"label:{name}" for name in shared_principles(recipe))
    for name in labelled:
        settings = {"judge": measured.get(name, judge), "principle": name, "statement": wordings[name],
                    "seed": recipe.seed}
        stage = f"label:{name}"
        after = shared[:shared.index(stage)] if stage in shared else ()
        stages.append(StagePlan(stage, "label", settings, pairs, pair_files + _references(recipe, [name]), name, after))
    if baselines.is_mixed(recipe):
        settings = {"baseline": recipe.baseline.kind, "shares": recipe.weights_by_name, "seed": recipe.seed}
        stages.append(StagePlan("draw", "draw", settings, {f"label:{name}": f"label:{name}" for name in labelled}))
    model_stages, models = _preference_models(recipe, common, baselines.modelled(recipe), pairs, pair_files)
    stages += model_stages
    # One preference model has one weight, and nothing to fit.
    weights = {"weights": values["weights"] if recipe.baseline.kind == "none" else {"mode": "set"},
               "given": weights_by_name} | direct
    stages.append(StagePlan("weights", "weights", weights, models | (pairs if direct else {}),
                            pair_files + _references(recipe, *direct.values()) if direct else ()))
    # Where a newer setting is as if there were none it is left out, so that results made before it existed are found.
    ppo = {key: value for key, value in values["ppo"].items() if key not in RUNTIME_ONLY_OF_PPO
           and (key not in _PPO_AS_BEFORE or value != _PPO_AS_BEFORE[key])}
    settings = repeated | policy | {"ppo": ppo, "scalarization": values["scalarization"], "principles": names}
    settings |= direct | charted | ({"judge": judge} if recipe.ppo.judge_samples else {})
    stages.append(StagePlan("ppo", "ppo", settings, start | models | {"weights": "weights"},
                            ("prompts", *_references(recipe, *direct.values(), *charted.values()))))
    settings = repeated | policy | {"evaluate": values["evaluate"], "judge": judge, "principles": wordings}
    stages.append(_evaluation(recipe, settings | direct | charted, start | {"ppo": "ppo"}, models))
    return stages


def _evaluation(recipe: Recipe, settings: dict[str, Any], inputs: dict[str, str],
                models: dict[str, str]) -> StagePlan:
    """The last stage. It reads preference models where a measure's truth stands beside their opinion, and for best of
    n; elsewhere neither, so that results made before are found."""
    measured = measuring_judges(recipe)
    if measured:
        settings |= {"measured": measured, "shares": recipe.weights_by_name}
        inputs |= models
    if recipe.evaluate.best_of:
        settings |= {"scalarization": recipe.scalarization.model_dump(mode="json"),
                     "rewarded": list(baselines.reward_principles(recipe))}
        if recipe.scalarization.function == "constrained":
            settings |= {"multipliers": "learnt"}  # results made with the initial multipliers are computed again
        inputs |= models | {"weights": "weights"}
    return StagePlan("evaluate", "evaluate", settings, inputs, ("held_out", *_references(recipe, measured)))


def _references(recipe: Recipe, *measured: Iterable[str]) -> tuple[str, ...]:
    """The data file with reference answers, for a stage that measures these principles, where one needs it."""
    return ("references",) if not set(recipe.referenced).isdisjoint(itertools.chain(*measured)) else ()


def _without_models(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings with the measures that are rewards themselves, and with the gauges. Each is left out where there are
    none, so that results made before they existed are found."""
    rewards, gauges = baselines.measured_rewards(recipe), baselines.gauges(recipe)
    return {"measured_rewards": rewards} if rewards else {}, {"gauges": gauges} if gauges else {}


def _preference_models(recipe: Recipe, common: dict[str, Any], names: list[str], pairs: dict[str, str],
                       pair_files: tuple[str, ...]) -> tuple[list[StagePlan], dict[str, str]]:
    """The stages that train preference models, and the stage that serves each principle, by role.

    One stage per principle, or one for all of them on a shared trunk: readers ask for a principle in either case.
    """
    if not names:
        return [], {}
    section = recipe.preference_model.model_dump(mode="json", exclude=set(RUNTIME_ONLY_OF_MODELS))
    settings = common | {"preference_model": section}
    labelled = baselines.principles_to_label(recipe)
    if recipe.preference_model.architecture == "shared_trunk" and not baselines.is_mixed(recipe):
        inputs = pairs | {f"label:{name}": f"label:{name}" for name in names if name in labelled}
        rated = {"rated": recipe.rated} if recipe.rated else {}
        files = (*pair_files, "ratings") if rated else pair_files
        stage = StagePlan(SHARED, "preference_model", settings | {"principles": names} | rated, inputs, files)
        return [stage], {f"preference_model:{name}": SHARED for name in names}
    stages = []
    for name in names:
        inputs = pairs | ({"label": "draw"} if baselines.is_mixed(recipe) else {"label": f"label:{name}"}
                          if name in labelled else {})
        rated = {"rated": {name: recipe.rated[name]}} if name in recipe.rated else {}
        files = (*pair_files, "ratings") if rated else pair_files
        stages.append(StagePlan(f"preference_model:{name}", "preference_model", settings | {"principle": name} | rated,
                                inputs, files, name))
    return stages, {f"preference_model:{name}": f"preference_model:{name}" for name in names}


def served_by(stages: list[StagePlan]) -> dict[str, str]:
    """By principle with a preference model, in the order of the reward's columns, the name of the stage whose folder
    holds it."""
    ppo = next(stage for stage in stages if stage.kind == "ppo")
    return {name: ppo.inputs[role] for name in ppo.settings["principles"]
            if (role := f"preference_model:{name}") in ppo.inputs}


def identities(stages: list[StagePlan], file_digests: Mapping[str, str],
               corrections: Mapping[str, str] | None = None) -> dict[str, str]:
    """The identity of each stage by name.

    Args:
        stages: as `plan` gives them.
        file_digests: digest of each data file by role ("prompts", "pairs", "dialogues", "held_out", "ratings",
            "references").
        corrections: by principle, the digest of what people changed in its labels; "" or absent where nobody did.
            It enters the identity of that principle's preference model, and through it of every stage that reads it; a
            shared trunk and a baseline's draw read the labels of all principles.
    """
    by_name: dict[str, str] = {}
    changed = {name: digest for name, digest in (corrections or {}).items() if digest}
    for stage in stages:
        corrected = changed.get(stage.principle or "", "") if stage.kind == "preference_model" else ""
        labelled = [role.removeprefix("label:") for role in stage.inputs if role.startswith("label:")]
        if touched := {name: changed[name] for name in labelled if name in changed}:
            corrected = digest_of(touched)
        by_name[stage.name] = digest_of({
            "kind": stage.kind,
            "version": _version(stage),
            "settings": stage.settings,
            "inputs": {role: by_name[name] for role, name in stage.inputs.items()},
            "files": {role: file_digests[role] for role in stage.files},
            "corrections": corrected,
            "weights": _shipped_weights(stage.settings),
        })
    return by_name


def _version(stage: StagePlan) -> int | str:
    """The version of a stage's code; where it asks a local judge, that of the judge too."""
    version = VERSIONS[stage.kind]
    judge = stage.settings.get("judge", {})
    if judge.get("kind") == "local":
        return f"{version}, local judge {LOCAL_VERSION}"
    judges = [judge, *stage.settings.get("measured", {}).values()]
    measures = [TypeAdapter(Measure).validate_python(measure) for measure in (
        *(one["measure"] for one in judges if "measure" in one),
        *stage.settings.get("measured_rewards", {}).values(), *stage.settings.get("gauges", {}).values())]
    return f"{version}, measures {', '.join(map(version_of, measures))}" if measures else version


def _shipped_weights(settings: Mapping[str, Any]) -> str:
    """The digest of the demo world's weights if these settings load them: their name does not change with the
    weights."""
    bases = [section["base"] for section in settings.values() if isinstance(section, dict) and "base" in section]
    return _world_digest() if DEMO_WORLD in bases else ""


@cache
def _world_digest() -> str:
    return file_digest(WEIGHTS / "model.safetensors")


def pair_digest(prompt: list[Any], response_a: str, response_b: str) -> str:
    """What identifies a pair, wherever it comes from: 32 hex digits."""
    return digest_of([prompt, response_a, response_b])[:32]
