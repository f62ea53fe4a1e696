"""Rows of a pass: they change nothing but rounding, grow with a GPU's memory, and halve when it runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.tiny_models import Remembering, make_recipe
from training.config import Recipe
from training.errors import OutOfMemory
from training.models import language_model
from training.models.rollouts import Rollout
from training.ppo import micro_batch as micro_batches
from training.ppo.micro_batch import MicroBatch, bytes_per_row
from training.run.artifacts import Job, write_jsonl
from training.run.pipeline import plan
from training.stages import ppo
from training.stages.runner import describe


@pytest.fixture
def metrics_of(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Any:
    """Runs three phases of eight answers and returns what they report, with what was logged."""
    def run(name: str, **changes: Any) -> tuple[list[dict[str, float]], Remembering]:
        settings = {"steps": 3, "batch_size": 8, "minibatches": 2, "epochs": 2, "max_new_tokens": 6,
                    "sample_prompts": 0}
        recipe: Recipe = make_recipe(tiny_base, ppo=settings | changes)
        stage = next(stage for stage in plan(recipe) if stage.kind == "ppo")
        write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": [{"role": "user", "content": f"Is {number} odd?"}]}
                                                 for number in range(12)])
        job = Job(name="ppo", kind="ppo", identity="0" * 64, settings=stage.settings, inputs=ppo_inputs,
                  files={"prompts": tmp_path / "prompts.jsonl"})
        reporter = Remembering()
        ppo.run(job, tmp_path / name, reporter)
        timeless = [{tag: value for tag, value in values.items() if not tag.startswith(("time/", "throughput/"))}
                    for values in reporter.metrics.values()]
        return timeless, reporter
    return run


def test_a_larger_micro_batch_gives_the_same_metrics_up_to_rounding(
        metrics_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small, _ = metrics_of("small", micro_batch=1)
    monkeypatch.setattr(micro_batches, "rows_that_fit", lambda *_: 100)
    large, _ = metrics_of("large", micro_batch=1)
    for before, after in zip(small, large, strict=True):
        assert before == pytest.approx(after, abs=2e-3)


def test_after_an_oom_it_goes_on_with_half_the_rows_and_the_log_says_so(
        metrics_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = metrics_of("two", micro_batch=2)
    read = ppo.rollouts.forward_responses
    sizes = []

    def forward(language: Any, part: Rollout, *others: Any) -> Any:
        sizes.append(len(part.mask))
        if len(part.mask) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(language, part, *others)

    monkeypatch.setattr(ppo.rollouts, "forward_responses", forward)
    metrics, reporter = metrics_of("four", micro_batch=4)
    for before, after in zip(expected, metrics, strict=True):
        assert before == pytest.approx(after, abs=1e-4)
    assert sizes[0] == 4 and max(sizes[1:]) == 2, "it is found out once"
    assert [message for message in reporter.logs if "out of memory" in message] == [
        "The GPU ran out of memory: micro-batches have 2 rows from here on."]


def test_one_row_too_much_is_a_failure_with_a_remedy() -> None:
    def work(rows: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(OutOfMemory, match="one row") as failure:
        MicroBatch(4, Remembering()).attempt(work)
    job = Job(name="ppo", kind="ppo", identity="0" * 64, settings={"ppo": {"micro_batch": 16}}, inputs={}, files={})
    described = describe(failure.value, job)
    assert described["kind"] == OutOfMemory.kind and "ppo.max_new_tokens" in described["remedy"]
    assert "ppo.micro_batch" in describe(OutOfMemory("x", "y"), job)["remedy"]


def test_what_an_oom_has_shown_bounds_later_phases(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = language_model.load(tiny_base, torch.device("cpu"))
    tokens = torch.zeros(1, 4)
    rollout = Rollout(tokens, tokens, tokens, tokens, tokens[:, 0].bool())
    micro_batch = MicroBatch(4, Remembering())
    micro_batch.fit(policy, rollout)
    assert micro_batch.rows == 4, "on a CPU it is what the settings say"
    monkeypatch.setattr(micro_batches, "rows_that_fit", lambda *_: 64)
    micro_batch.fit(policy, rollout)
    assert micro_batch.rows == 64

    def work(rows: int) -> int:
        if rows > 20:
            raise torch.OutOfMemoryError
        return rows

    assert micro_batch.attempt(work) == 16
    micro_batch.fit(policy, rollout)
    assert micro_batch.rows == 16


def test_the_bytes_of_a_row_by_hand(tiny_base: Path) -> None:
    model = language_model.load(tiny_base, torch.device("cpu")).model
    config = model.config
    layer = (12 * config.hidden_size + 5 * config.intermediate_size) * 4
    assert bytes_per_row(model, 10, 6) == 16 * config.num_hidden_layers * layer + 6 * config.vocab_size * (4 + 4)
    half = model.to(torch.bfloat16)  # logits and their gradient are there once more in fp32
    assert bytes_per_row(half, 10, 6) == 16 * config.num_hidden_layers * layer / 2 + 6 * config.vocab_size * (4 + 8)
