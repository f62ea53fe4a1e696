"""The form's fields, generated from the recipe's types: bounds, choices and help are defined in training.config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.config import Recipe
from webapp.runs.form.scalarizations import EXPLAINED, condition

# No setting of the form, or written by the template itself. A measure belongs to a principle.
OWN_WIDGETS = {"version", "name", "data.source", "principles", "judge.measure"}
MEASURING = ("judge.kind", "measure")  # the judge of a measured principle: no choice for a run
OFF = "off"
"""The text of a section that a recipe may leave out (`null`) and does."""

WORDS = {
    "kl": "KL", "lora": "LoRA", "r": "rank", "sft": "fine-tuning", "lam": "GAE lambda", "eos": "end", "ppo": "PPO",
    "api": "API", "url": "address", "env": "variable", "lr": "learning rate", "max": "longest", "min": "shortest",
}
GROUPS = {
    "data": "Data", "sample": "Pairs to label", "weights": "Weights", "judge": "Judge", "policy": "Policy",
    "preference_model": "Preference models", "sft": "Supervised fine-tuning", "scalarization": "Scalarization",
    "ppo": "PPO", "evaluate": "Evaluation", "baseline": "Baseline",
    "seed": "Computing", "repeat": "Computing", "device": "Computing", "precision": "Computing",
}
LABELS = {
    "sft.enabled": "Fine-tune first", "policy.base": "Policy", "preference_model.base": "Base of the preference models",
    "ppo.steps": "Steps", "ppo.batch_size": "Rollouts per step", "evaluate.prompts": "Evaluation prompts",
    "data.limit": "Maximum rows", "data.held_out": "Held-out prompts", "judge.max_pairs": "Maximum pairs",
    "judge.api_key_env": "Variable with the key", "judge.base_url": "Server's address", "judge.kind": "Judge",
    "ppo.max_new_tokens": "Longest response (tokens)", "evaluate.max_new_tokens": "Longest response (tokens)",
    "sample.max_new_tokens": "Longest response (tokens)", "preference_model.max_length": "Longest dialogue (tokens)",
    "sft.max_length": "Longest dialogue (tokens)", "ppo.micro_batch": "Micro-batch",
    "ppo.max_grad_norm": "Gradient clipping", "weights.mode": "Weights are",
    "scalarization.function": "Scalarization", "baseline.kind": "Baseline", "repeat": "Repetition",
    "judge.budget_money": "Budget in dollars", "judge.budget_calls": "Budget in calls",
    "judge.budget_tokens": "Budget in tokens", "judge.few_shot": "Examples before the question",
    "judge.logprobs": "Log-probabilities", "judge.most_flips": "Largest share of order flips",
    "preference_model.stop_at_chance": "Stop if no better than a coin",
    "policy.lora": "Trained weights",
    "ppo.conditioned": "One policy for every trade-off", "ppo.concentration": "Concentration of the shares",
    "sample.pairs": "Pairs are", "sample.count": "Pairs to sample", "preference_model.held_out": "Held-out share",
    "preference_model.labels": "Labels are", "preference_model.labels_from": "Labels are from",
    "data.ratings": "Aspects that label principles", "preference_model.lora_layers": "Layers with LoRA",
}
CHOICES = {
    "preference_model.architecture": {"separate": "one adapter per principle on a shared base",
                                      "shared_trunk": "one trunk with a head per principle",
                                      "full": "a full copy of the base per principle"},
    "preference_model.labels": {"soft": "the judge's probability", "hard": "its answer rounded to A or B",
                                "margin": "its rounded answer, with a margin from its log-odds"},
    "preference_model.labels_from": {"ai": "the judge", "people": "the ratings of the dataset",
                                     "both": "the ratings, and the judge for what nobody rated"},
    "judge.kind": {"rule": "rules of the demo world", "openai": "an OpenAI-compatible server",
                   "local": "a local model on the workers' machine"},
    "judge.logprobs": {"auto": "if the server supports them", "yes": "required", "no": "never requested"},
    "judge.layout": {"paper": "as in the paper, principle first",
                     "shared_prefix": "principle last, one shared prefix per pair"},
    "baseline.kind": {"none": "none: one preference model per principle",
                      "single_pm": "one preference model, one principle drawn for each pair",
                      "pooled_pm": "one preference model on the labels of all principles",
                      "single_principle": "one principle alone"},
    "weights.mode": {"set": "set here, by hand", "fitted": "fitted to human choices"},
    "policy.lora": {"on": "a LoRA adapter", OFF: "every weight"},
    "sample.pairs": {"sampled": "sampled from the policy", "dataset": "the dataset's own"},
    "ppo.group_normalise": {"reward": "the reward", "each": "each principle (GDPO)"},
}

_ON_A_SERVER = dict.fromkeys(("judge.concurrency", "judge.requests_per_minute", "judge.tokens_per_minute",
                              "judge.price_in", "judge.price_out", "judge.kind"), "saved_judge=")
CONDITIONS = _ON_A_SERVER | dict.fromkeys(("judge.base_url", "judge.api_key_env"), "saved_judge= judge.kind=openai") | (
    dict.fromkeys(("policy.lora.r", "policy.lora.alpha", "policy.lora.dropout"), "policy.lora=on")) | {
        "judge.model": "saved_judge= judge.kind!=rule", "sample.count": "sample.pairs=sampled",
        **dict.fromkeys(("judge.budget_money", "judge.budget_calls", "judge.budget_tokens", "judge.most_flips"),
                        "judge.kind!=rule")}
"""When a field is shown: conditions that must all hold, `name=value`, `name!=value`, or `name=` for an empty one."""


@dataclass(frozen=True)
class Spec:
    """One setting: its path in the recipe, its allowed values, and its texts in the form."""

    path: str
    kind: Literal["bool", "int", "float", "text", "choice", "columns", "section"]
    label: str
    help: str
    bounds: str
    choices: tuple[tuple[str, str], ...] = ()
    default: Any = None

    @property
    def condition(self) -> str:
        """When the field is shown, as the form's script reads it; "" for always."""
        section, _, setting = self.path.partition(".")
        return condition(setting) if section == "scalarization" else CONDITIONS.get(self.path, "")

    @property
    def group(self) -> str:
        root = self.path.split(".")[0]
        return GROUPS.get(root, root.replace("_", " ").capitalize())


@dataclass(frozen=True)
class FormSection:
    """One of the five parts of the form: main settings visible, the others folded."""

    key: str
    title: str
    intro: str
    roots: tuple[str, ...]
    essentials: tuple[str, ...]


SECTIONS = (
    FormSection("data", "Data", "Prompts to train on, and prompts held out to judge the result.", ("data", "sample"),
                ("data.limit", "data.held_out", "sample.count")),
    FormSection("principles", "Principles and weights",
                "What makes a response good, how much each part counts, and how the parts become one reward.",
                ("weights", "scalarization"), ("weights.mode", "scalarization.function", *dict.fromkeys(
                    f"scalarization.{name}" for explained in EXPLAINED.values() for name in explained.settings))),
    FormSection("judge", "Judge", "The feedback model: it compares two responses on one principle at a time.",
                ("judge",), ("judge.kind", "judge.max_pairs", "judge.model", "judge.base_url", "judge.budget_money")),
    FormSection("models", "Models", "The policy that learns, and the preference models that reward it.",
                ("policy", "preference_model", "sft"), ("policy.base", "preference_model.base", "sft.enabled")),
    FormSection("training", "Training", "How the policy learns from the reward.",
                ("baseline", "ppo", "evaluate", "seed", "repeat", "device", "precision"),
                ("ppo.steps", "ppo.batch_size", "ppo.learning_rate", "ppo.kl.target",
                 "evaluate.prompts")),
)


@cache
def specs() -> dict[str, Spec]:
    """Every setting by its dotted path, in the order of the recipe."""
    return {spec.path: spec for spec in _leaves(Recipe, "") if spec.path not in OWN_WIDGETS}


def folded(section: FormSection) -> dict[str, list[Spec]]:
    """The folded settings of a section, by group."""
    groups: dict[str, list[Spec]] = {}
    for spec in specs().values():
        if spec.path.split(".")[0] in section.roots and spec.path not in section.essentials:
            groups.setdefault(spec.group, []).append(spec)
    return groups


def show(value: Any) -> str:
    """A setting's value as the text of its field."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {name}" for key, name in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _leaves(model: type[BaseModel], prefix: str, defaults: BaseModel | None = None) -> Iterator[Spec]:
    """The settings of a section; `defaults` are those of a section whose parent sets its own."""
    for name, info in model.model_fields.items():
        path, kind = f"{prefix}{name}", info.annotation
        if section := _section(kind):
            yield from _leaves(section, f"{path}.")
        elif NoneType in get_args(kind) and (section := next(filter(None, map(_section, get_args(kind))), None)):
            # It may be null: a choice before its settings.
            yield Spec(path, "section", _label(path), info.description or "", "", tuple(CHOICES[path].items()), "on")
            yield from _leaves(section, f"{path}.", info.default)
        elif path not in OWN_WIDGETS:
            default = getattr(defaults, name) if defaults is not None else info.default
            yield Spec(path, _kind(kind), _label(path), info.description or "", _bounds(info), _choices(path, kind),
                       default)


def _section(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _kind(annotation: Any) -> Literal["bool", "int", "float", "text", "choice", "columns"]:
    if get_origin(annotation) is Literal:
        return "choice"
    if get_origin(annotation) is dict:
        return "columns"
    kinds: dict[Any, Literal["bool", "int", "float"]] = {bool: "bool", int: "int", float: "float"}
    return kinds.get(annotation, "text")


def _choices(path: str, annotation: Any) -> tuple[tuple[str, str], ...]:
    if get_origin(annotation) is not Literal:
        return ()
    words = CHOICES.get(path, {})
    return tuple((value, words.get(value, value.replace("_", " "))) for value in get_args(annotation)
                 if (path, value) != MEASURING)


def _label(path: str) -> str:
    if path in LABELS:
        return LABELS[path]
    parts = path.split(".")[1:] or [path]
    words = [WORDS.get(word, word) for part in parts for word in part.split("_")]
    text = " ".join(words)
    return text[0].upper() + text[1:]


def _bounds(info: FieldInfo) -> str:
    low = high = ""
    for rule in info.metadata:
        if (value := getattr(rule, "ge", None)) is not None:
            low = f"{value:,g}" if value < 1e6 else f"{value:g}"
        if (value := getattr(rule, "gt", None)) is not None:
            low = f"above {value:,g}"
        if (value := getattr(rule, "le", None)) is not None:
            high = _plain(value)
        if (value := getattr(rule, "lt", None)) is not None:
            high = f"below {_plain(value)}"
    if low.startswith("above") and high:
        return f"{low}, {'' if high.startswith('below') else 'at most '}{high}"
    return f"{low} to {high}" if low and high else low or high


def _plain(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"
