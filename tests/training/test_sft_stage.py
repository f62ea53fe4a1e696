"""Fine-tuning on a tiny model: the response is learnt, the result is a whole model, a stop keeps what was learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_families import make_family
from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import BadData, StopRequested
from training.models import language_model
from training.run.artifacts import Job
from training.stages import sft

DIALOGUES = [{"prompt": prompt, "response": "The bird of Avela is the owl."} for prompt in PROMPTS] * 4


@pytest.fixture
def job_of(tmp_path: Path, tiny_base: Path) -> Any:
    def make(dialogues: list[dict[str, Any]], **changes: Any) -> Job:
        settings = {"enabled": True, "batch_size": 4, "learning_rate": 0.02, "epochs": 3} | changes
        return make_job(make_recipe(tiny_base, sft=settings), "sft", tmp_path, dialogues=dialogues)

    return make


def test_the_loss_falls_and_the_result_is_a_whole_model(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    sft.run(job_of(DIALOGUES), tmp_path / "run", reporter)
    assert sorted(reporter.metrics) == list(range(1, 16))
    assert reporter.metrics[15]["sft/loss"] < 0.7 * reporter.metrics[1]["sft/loss"]
    assert reporter.progressed[-1] == (15, 15)
    language = language_model.load(str(tmp_path / "run" / "model"), torch.device("cpu"))
    assert not any("lora" in name for name, _ in language.model.named_parameters())
    assert {path.suffix for path in (tmp_path / "run" / "model").iterdir()} == {".json", ".safetensors"}


def test_a_batch_in_parts_gives_the_losses_of_the_whole_batch(
        job_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses of different lengths, so that a mean of means would differ; 18 dialogues do not fill the last batch."""
    dialogues = [row | {"response": "Owl. " * (1 + number % 5)} for number, row in enumerate(DIALOGUES[:18])]
    one_pass, parts = Remembering(), Remembering()
    sft.run(job_of(dialogues), tmp_path / "whole", one_pass)
    monkeypatch.setattr(sft.memory, "rows_of_an_sft_pass", lambda *_: 2)
    sft.run(job_of(dialogues), tmp_path / "parts", parts)
    assert sorted(one_pass.metrics) == sorted(parts.metrics) == list(range(1, 16))
    for step, metrics in one_pass.metrics.items():
        assert parts.metrics[step]["sft/loss"] == pytest.approx(metrics["sft/loss"], rel=1e-3), step
    assert "2 of a batch's 4 dialogues at a time, for the memory's sake" in parts.logs
    assert not any("at a time" in line for line in one_pass.logs)


def test_only_the_response_is_learnt(tiny_base: Path) -> None:
    language = language_model.load(str(tiny_base), torch.device("cpu"))
    row = sft.tokens_of(language, {"prompt": PROMPTS[1], "response": "Hello!"}, max_length=64)
    learnt = [token for token, mask in zip(row["input_ids"], row["completion_mask"], strict=True) if mask]
    assert language.tokenizer.decode(learnt) == " Hello!<eos>"
    assert language.tokenizer.decode(row["input_ids"]) == "\n\nHuman: Hello!\n\nAssistant: Hello!<eos>"


def test_a_long_prompt_loses_its_beginning_and_the_response_stays(tiny_base: Path) -> None:
    language = language_model.load(str(tiny_base), torch.device("cpu"))
    row = sft.tokens_of(language, {"prompt": PROMPTS[0], "response": "Hello!"}, max_length=5)
    assert language.tokenizer.decode(row["input_ids"]).endswith("Assistant: Hello!<eos>")
    assert len(row["input_ids"]) == 5


def test_a_stop_saves_and_the_rest_is_done_after_it(job_of: Any, tmp_path: Path) -> None:
    first, second = Remembering(stop_after=6), Remembering()
    with pytest.raises(StopRequested):
        sft.run(job_of(DIALOGUES), tmp_path / "run", first)
    sft.run(job_of(DIALOGUES), tmp_path / "run", second)
    assert sorted(first.metrics) == [1, 2, 3, 4, 5, 6]
    assert second.rewinds == [6]
    assert sorted(second.metrics) == list(range(7, 16))


def test_a_restart_before_the_first_checkpoint_takes_back_what_was_reported(job_of: Any, tmp_path: Path) -> None:
    reporter = Remembering()
    sft.run(job_of(DIALOGUES), tmp_path / "run", reporter)
    assert reporter.rewinds == [0]


def test_a_dialogue_longer_than_the_model_loses_its_beginning(tmp_path: Path) -> None:
    recipe = make_recipe(make_family("gpt2", tmp_path / "short"), sft={"enabled": True, "batch_size": 4})
    long = [{"prompt": [{"role": "user", "content": "Hello " * 100}], "response": "Yes."}] * 4
    reporter = Remembering()
    sft.run(make_job(recipe, "sft", tmp_path, dialogues=long), tmp_path / "run", reporter)
    assert sorted(reporter.metrics) == [1]


@pytest.mark.parametrize("family", ["gemma3_with_pictures", "mamba", "opt", "qwen3_5"])
def test_every_family_is_fine_tuned(family: str, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / family)
    recipe = make_recipe(base, sft={"enabled": True, "batch_size": 4, "learning_rate": 0.02, "epochs": 2})
    reporter = Remembering()
    sft.run(make_job(recipe, "sft", tmp_path, dialogues=DIALOGUES), tmp_path / "run", reporter)
    assert reporter.metrics[10]["sft/loss"] < reporter.metrics[1]["sft/loss"]
    language_model.load(tmp_path / "run" / "model", torch.device("cpu"))


def test_no_dialogues_is_bad_data(job_of: Any, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no dialogues"):
        sft.run(job_of([]), tmp_path / "run", Remembering())
