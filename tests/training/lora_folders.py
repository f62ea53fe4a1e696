"""Adapters of any shape on the tiny base, for tests of mixing: random ones that say other things than the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tests.training.tiny_models import PROMPTS
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel

CPU = torch.device("cpu")


def make_lora(folder: Path, base: Path, seed: int, name: str = "base", **settings: Any) -> Path:
    """The folder of a random adapter, written by peft."""
    language = language_model.load(str(base), CPU)
    targets = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    wrapped: Any = get_peft_model(language.model, LoraConfig(**targets | settings))
    torch.manual_seed(seed)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    wrapped.peft_config["default"].base_model_name_or_path = name
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def with_adapter(base: Path, folder: Path) -> LanguageModel:
    return language_model.load_adapter(language_model.load(str(base), CPU), folder)


def logits(language: LanguageModel) -> torch.Tensor:
    """Of every place of some prompts, [prompt, token, vocabulary]; those of padding are 0."""
    ids, mask = rollouts.pad_prompts(language, PROMPTS, 4)
    with torch.no_grad():
        return torch.as_tensor(language.model(input_ids=ids, attention_mask=mask).logits * mask.unsqueeze(-1))
