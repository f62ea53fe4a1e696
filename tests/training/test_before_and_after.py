"""What changed, by measures and by preference models: where the two part, the policy has been over-optimised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.dialogue import Dialogue
from training.run.artifacts import Job, read_json
from training.run.pipeline import plan
from training.stages import before_and_after, evaluate, ppo
from training.stages.before_and_after import means_of_measures, opinions_of_models

WORDS = {"kind": "words", "toward": "high"}


class LongIsGood:
    """Two models that were standardised on scores of mean 2 and deviation 4, and of mean 0 and deviation 1: the first
    counts characters, the second knows one answer that it loves."""

    names = ("length", "taste")
    mean, std = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 1.0])

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        return torch.tensor([[float(len(text)), float(text == "xxxxxxxxxx")] for text in responses])


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Path]]:
    loaded: list[dict[str, Path]] = []

    def load(folders: Mapping[str, Path], device: torch.device, precision: str) -> LongIsGood:
        loaded.append(dict(folders))
        return LongIsGood()

    monkeypatch.setattr(before_and_after.PreferenceModels, "load", load)
    return loaded


def job_with(**inputs: Path) -> Job:
    return Job.model_construct(kind="evaluate", settings={"precision": "fp32"}, inputs=dict(inputs))


def test_a_policy_that_games_its_model_is_better_by_the_model_and_worse_by_the_measure(
    models: list[dict[str, Path]], tmp_path: Path,
) -> None:
    tuned, plain = ["xxxxxxxxxx", "xxxxxxxxxx"], ["one two", "a b c"]
    job = job_with(**{"preference_model:length": tmp_path / "l", "preference_model:taste": tmp_path / "t",
                      "ppo": tmp_path / "p"})
    opinions = opinions_of_models(job, torch.device("cpu"), PROMPTS[:2], tuned, plain)
    assert models == [{"length": tmp_path / "l", "taste": tmp_path / "t"}]
    assert opinions["length"]["policy"]["mean"] == (10 - 2) / 4
    assert opinions["length"]["base"]["mean"] == ((7 - 2) / 4 + (5 - 2) / 4) / 2
    assert opinions["length"]["difference"]["mean"] == (3 / 4 + 5 / 4) / 2
    assert opinions["taste"]["difference"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    means = means_of_measures({"length": WORDS}, PROMPTS[:2], tuned, plain)
    assert means["length"]["difference"]["mean"] == -1.5


def test_without_preference_models_there_are_no_opinions(models: list[dict[str, Path]], tmp_path: Path) -> None:
    assert opinions_of_models(job_with(ppo=tmp_path), torch.device("cpu"), PROMPTS[:1], ["a"], ["b"]) == {}
    assert models == []


def test_a_recipe_without_a_measure_reads_no_model(tiny_base: Path) -> None:
    judged = make_recipe(tiny_base)
    [stage] = [stage for stage in plan(judged) if stage.kind == "evaluate"]
    assert set(stage.inputs) == {"ppo"} and "measured" not in stage.settings


def test_the_report_of_a_measured_principle_holds_both(
    tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path],
) -> None:
    principles: list[dict[str, Any]] = [{"name": "factuality"}, {"name": "toxicity", "measure": WORDS}]
    recipe = make_recipe(tiny_base, principles=principles, evaluate={"prompts": 4, "max_new_tokens": 6})
    [stage] = [stage for stage in plan(recipe) if stage.kind == "evaluate"]
    assert set(stage.inputs) == {"ppo", "preference_model:factuality", "preference_model:toxicity"}
    evaluate_inputs = {role: folder for role, folder in ppo_inputs.items() if role.startswith("preference_model:")}
    made = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    ppo.run(made, tmp_path / "ppo", Remembering())
    job = make_job(recipe, "evaluate", tmp_path, evaluate_inputs | {"ppo": tmp_path / "ppo"},
                   held_out=[{"prompt": prompt} for prompt in PROMPTS])
    evaluate.run(job, tmp_path / "evaluate", Remembering())
    report = read_json(tmp_path / "evaluate" / "report.json")
    assert set(report["measures"]) == {"toxicity"} and set(report["opinions"]) == {"factuality", "toxicity"}
    for name in ("factuality", "toxicity"):
        opinion = report["opinions"][name]
        assert opinion["difference"]["mean"] == pytest.approx(opinion["policy"]["mean"] - opinion["base"]["mean"])
