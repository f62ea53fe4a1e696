"""`training answer`: several policies answer the same prompts, a base, an adapter and a mix of adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import PROMPTS
from training.config import Lora
from training.models import language_model
from training.policy_answers import answer_job
from training.run.artifacts import read_jsonl, write_json
from training.run.model_names import model_home

CPU = torch.device("cpu")


@pytest.fixture
def adapters(tiny_base: Path, tmp_path: Path) -> list[Path]:
    for number in (1, 2):
        torch.manual_seed(number)
        language = language_model.add_adapter(language_model.load(str(tiny_base), CPU), Lora(r=2))
        for parameter in language_model.trainable_parameters(language):
            torch.nn.init.normal_(parameter, std=0.5)
        language_model.save_adapter(language, tmp_path / str(number))
    return [tmp_path / "1", tmp_path / "2"]


def answers(tiny_base: Path, folder: Path, parts: list[list[tuple[Path, float]]], **changes: Any) -> list[list[str]]:
    """What each policy answers to every prompt; a policy is given by its adapters and their weights."""
    policies = [{"id": number, "base": str(tiny_base), "is_folder": True, "device": "cpu", "precision": "fp32",
                 "parts": [[str(adapter), weight] for adapter, weight in of_policy], "prompts": [1, 2, 3]}
                for number, of_policy in enumerate(parts)]
    write_json(folder / "answering.json", {
        "prompts": {str(number): PROMPTS[number] for number in (1, 2, 3)}, "policies": policies, "temperature": 1.0,
        "max_new_tokens": 8, "seed": 3, "models": model_home().to_json(), "scorer": None} | changes)
    out = folder / "answers.jsonl"
    out.unlink(missing_ok=True)
    answer_job(folder / "answering.json", out)
    lines = list(read_jsonl(out))
    assert [(line["policy"], line["prompt"]) for line in lines] == [
        (policy, prompt) for policy in range(len(parts)) for prompt in (1, 2, 3)]
    return [[line["text"] for line in lines if line["policy"] == policy] for policy in range(len(parts))]


def test_policies_draw_the_same_random_numbers(tiny_base: Path, tmp_path: Path, adapters: list[Path]) -> None:
    base, again, first = answers(tiny_base, tmp_path, [[], [], [(adapters[0], 1.0)]])
    assert base == again != first


def test_a_mix_answers_as_what_it_is_of(tiny_base: Path, tmp_path: Path, adapters: list[Path]) -> None:
    base, first, second, *mixes = answers(tiny_base, tmp_path, [
        [], [(adapters[0], 1.0)], [(adapters[1], 1.0)],
        [(adapters[0], 1.0), (adapters[1], 0.0)], [(adapters[0], 0.0), (adapters[1], 1.0)], [(adapters[0], 0.0)],
        [(adapters[0], 0.5), (adapters[1], 0.5)]])
    assert mixes[:3] == [first, second, base]
    assert mixes[3] not in (base, first, second)
