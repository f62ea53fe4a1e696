"""Trained models as everybody's tools read them: a policy as a whole model, a preference model as a classifier.

    python -m training export STAGE_FOLDER --out DIR

What a ppo stage leaves is an adapter beside the name of its base, what a preference_model stage leaves an adapter and a
head. Here both become a folder that `AutoModelForCausalLM` or `AutoModelForSequenceClassification` loads without
Concord and without peft: safetensors in shards, config and tokenizer.

Left out: preference models of families that transformers has no classifier for, and quantised formats.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from training.config import Policy
from training.errors import BadData, ModelUnavailable
from training.models import language_model
from training.models.full_weights import tuned_folder
from training.models.language_model import LanguageModel, load_tokenizer, lora_layers, pad_id, translate_oom
from training.preference_models.model import TRUNK, load_head, load_trunk
from training.preference_models.scoring import merged_trunk
from training.quality.quality_card import CARD
from training.run.artifacts import Job, appearing_folder, is_complete, read_json, write_json
from training.run.jobs import read_job
from training.run.model_names import ModelHome, models_at

LARGEST_SHARD = "2GB"
SCALE_FILE = "concord.json"


def export_stage(folder: Path, out: Path) -> None:
    """Write the model of a finished ppo or preference_model stage to a folder, which appears when it is whole.

    Raises:
        BadData: the stage is not finished, makes no model, or the folder exists.
        ModelUnavailable, OutOfMemory: the base cannot be loaded, does not fit, or has no classifier.
    """
    if not is_complete(folder):
        raise BadData(f"The stage in '{folder.name}' is not finished.", "Wait until it is, then export it again.")
    job = read_job(folder)
    home = ModelHome.from_json(job.runtime.get("models", {}))
    with models_at(home), appearing_folder(out) as temporary, translate_oom():
        if job.kind == "ppo":
            export_policy(job, folder, temporary)
        elif job.kind == "preference_model":
            export_preference_model(job, folder, temporary)
        else:
            raise BadData(f"A stage of kind '{job.kind}' makes no model of its own.",
                          "Export the stage 'ppo', or one whose name begins with 'preference_model'.")


def export_policy(job: Job, folder: Path, out: Path) -> None:
    """The tuned policy in the run's precision: all its weights, or its adapter merged into its base."""
    if (tuned := tuned_folder(folder)).name == "model":
        save(language_model.load(tuned, torch.device("cpu"), job.settings["precision"]), out)
        return
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else Policy.model_validate(job.settings["policy"]).base
    language = language_model.load(base, torch.device("cpu"), job.settings["precision"])
    language = language_model.load_adapter(language, tuned)
    merge(language)
    save(replace(language, model=language.adapter.unload()), out)


def save(language: LanguageModel, out: Path) -> None:
    language.model.save_pretrained(str(out), max_shard_size=LARGEST_SHARD)
    language.tokenizer.save_pretrained(str(out))


@torch.no_grad()
def merge(language: LanguageModel) -> None:
    """Add the adapter to its base's weights for good; summed in fp32 and rounded once."""
    for layer in lora_layers(language):
        weight = layer.get_base_layer().weight
        for name in layer.active_adapters:
            weight.copy_(weight.float() + layer.get_delta_weight(name).float())


def export_preference_model(job: Job, folder: Path, out: Path) -> None:
    """The preference model as a classifier with one label per principle; its logits are the raw scores.

    `concord.json` holds what standardises them: the mean and the spread of each principle.
    """
    content = read_json(folder / CARD)
    cards: dict[str, dict[str, Any]] = content.get("cards") or {content["principle"]: content}
    names = sorted(cards, key=lambda name: int(cards[name].get("head", 0)))
    base, precision = job.settings["preference_model"]["base"], job.settings["precision"]
    is_full = (folder / TRUNK).is_dir()
    trunk = load_trunk(folder / TRUNK if is_full else base, "cpu", precision)
    if not is_full:
        trunk = merged_trunk(trunk, folder, base, "cpu")
    tokenizer = load_tokenizer(base)
    classifier = _classifier(trunk, names, base)
    head = load_head(folder, classifier.score.weight.shape[1], "cpu")
    with torch.no_grad():
        classifier.score.weight.copy_(head.weight)
    classifier.config.pad_token_id = pad_id(tokenizer, (tokenizer.eos_token_id,))
    classifier.save_pretrained(str(out), max_shard_size=LARGEST_SHARD)
    tokenizer.pad_token_id, tokenizer.padding_side = classifier.config.pad_token_id, "right"
    tokenizer.save_pretrained(str(out))
    write_json(out / SCALE_FILE, {name: {key: cards[name][key] for key in ("mean", "std")} for name in names})


def _classifier(trunk: Any, names: list[str], base: str) -> Any:
    """transformers' own classifier around a trunk, with one label per name; its head has the trunk's dtype.

    Raises:
        ModelUnavailable: the trunk's family has none that is a trunk and a linear map.
    """
    config, dtype = trunk.config, trunk.dtype
    config.num_labels = len(names)
    config.id2label, config.label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    try:
        with torch.device("meta"):
            classifier = AutoModelForSequenceClassification.from_config(config)
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelUnavailable(f"transformers has no classifier for the family of '{base}'.",
                               "Load the adapter and the head by 'training.api' instead.") from error
    if type(getattr(classifier, classifier.base_model_prefix, None)) is not type(trunk) or not hasattr(
            classifier, "score"):
        raise ModelUnavailable(f"The classifier that transformers has for the family of '{base}' is no linear map of "
                               "its last state.", "Load the adapter and the head by 'training.api' instead.")
    setattr(classifier, classifier.base_model_prefix, trunk)
    width = classifier.score.weight.shape[1]
    classifier.score = torch.nn.Linear(width, len(names), bias=False, dtype=dtype)
    return classifier
