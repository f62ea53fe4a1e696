"""Passes of learning that are captured: padded to few shapes, captured at the second of a shape, replayed from then on.

A CPU captures nothing: here a captured pass is one that is run again with the tensors that it was captured with, into
which a replay copies its inputs. What a GPU adds is measured by `benchmarks/gpu.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.test_ppo_golden_trajectory import PINNED, TAGS
from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.config import Ppo
from training.ppo.gradient_pass import MOST_GRAPHS, Compute, GradientPass, LossInputs
from training.ppo.learner import Learner, load_learner, trainable_parameters
from training.stages import ppo


class Recorded:
    """Stands for a CUDA graph."""

    def __init__(self, compute: Compute, inputs: LossInputs, is_padded: bool, pool: Any) -> None:
        self._compute, self._is_padded = compute, is_padded
        self._inputs = LossInputs(*(tensor.clone() for tensor in inputs))
        self.pool = pool or object()

    def replay(self, inputs: LossInputs) -> Tensor:
        for place, tensor in zip(self._inputs, inputs, strict=True):
            assert place.shape == tensor.shape and place.dtype == tensor.dtype
            place.copy_(tensor)
        return self._compute(self._inputs, self._is_padded)


def inputs_of(prompts: list[int], responses: list[int]) -> LossInputs:
    """Rows with so many tokens: prompts padded at the left, responses at the right."""
    generator = torch.Generator().manual_seed(0)
    prompt_mask = torch.arange(max(prompts)).flip(0) < torch.tensor(prompts)[:, None]
    mask = torch.arange(max(responses)) < torch.tensor(responses)[:, None]
    ids = [torch.randint(3, 9, shape.shape, generator=generator) for shape in (prompt_mask, mask)]
    floats = [torch.randn(mask.shape, generator=generator) * mask for _ in range(4)]
    return LossInputs(ids[0] * prompt_mask, prompt_mask.long(), ids[1] * mask, mask.float(), *floats, mask.sum())


def counting(calls: list[tuple[tuple[int, ...], bool]]) -> Compute:
    def compute(inputs: LossInputs, is_padded: bool) -> Tensor:
        calls.append((tuple(inputs.mask.shape), is_padded))
        return inputs.mask.sum()

    return compute


def test_padding_widens_to_the_next_multiple_and_keeps_every_token_in_its_place() -> None:
    inputs = inputs_of([3, 5], [4, 2])
    wide = inputs.padded(4)
    assert wide.prompts.shape == (2, 8) and wide.responses.shape == (2, 4)
    assert torch.equal(wide.prompts[:, 3:], inputs.prompts) and not wide.prompt_mask[:, :3].any()
    assert torch.equal(wide.responses, inputs.responses) and wide.tokens is inputs.tokens
    wider = inputs.padded(3)
    assert torch.equal(wider.returns[:, :4], inputs.returns) and not wider.mask[:, 4:].any()


@pytest.mark.parametrize(("prompts", "responses", "padded"),
                         [([4, 4], [3, 3], False), ([4, 3], [3, 3], True), ([4, 4], [3, 2], True)])
def test_a_place_without_a_token_is_padding(prompts: list[int], responses: list[int], padded: bool) -> None:
    assert inputs_of(prompts, responses).is_padded() is padded


def test_the_second_pass_of_a_shape_is_captured_and_later_ones_replayed() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    captured: list[Recorded] = []

    def capture(*arguments: Any) -> Recorded:
        captured.append(Recorded(*arguments))
        return captured[-1]

    run = GradientPass(counting(calls), [], capture, Remembering())
    for responses in ([5, 3], [40, 2], [6, 6], [7, 1]):  # as wide as 32, 64, 32, 32 columns
        assert run(inputs_of([4, 2], responses)) == sum(responses), "the sums are those of these inputs"
    assert len(captured) == 1 and [shape for shape, _ in calls] == [(2, 32), (2, 64), (2, 32), (2, 32)]
    run(inputs_of([4, 2], [33, 33]))
    assert len(captured) == 2 and captured[1].pool is captured[0].pool, "graphs share their memory"


def test_passes_with_and_without_padding_are_different_graphs() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    run = GradientPass(counting(calls), [], Recorded, Remembering())
    run(inputs_of([32, 32], [32, 32]))
    run(inputs_of([32, 31], [32, 32]))
    assert calls == [((2, 32), False), ((2, 32), True)]


def test_without_capturing_nothing_is_padded() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    run = GradientPass(counting(calls), [], None, Remembering())
    for _ in range(3):
        run(inputs_of([4, 4], [5, 5]))
    assert calls == [((2, 5), True)] * 3 and not run.captures


def test_a_pass_that_cannot_be_captured_is_run_and_that_is_said_once() -> None:
    def fails(*_: Any) -> Recorded:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    reporter, calls = Remembering(), list[tuple[tuple[int, ...], bool]]()
    run = GradientPass(counting(calls), [], fails, reporter)
    for _ in range(4):
        assert run(inputs_of([4, 2], [5, 3])) == 8
    assert len(calls) == 4 and not run.captures
    reason = "operation not permitted when stream is capturing"
    assert reporter.logs == [f"Learning is not captured as CUDA graphs: {reason}"]


def test_graphs_are_made_anew_where_gradients_have_moved() -> None:
    captured: list[int] = []
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)

    def capture(*arguments: Any) -> Recorded:
        captured.append(1)
        return Recorded(*arguments)

    run = GradientPass(counting([]), [parameter], capture, Remembering())
    for _ in range(3):
        run(inputs_of([4, 2], [5, 3]))
    assert len(captured) == 1
    parameter.grad = torch.zeros(2)
    run(inputs_of([4, 2], [5, 3]))
    assert len(captured) == 2


def test_after_an_oom_the_memory_of_graphs_is_free_and_a_smaller_pass_is_tried_anew() -> None:
    too_large = 3

    def compute(inputs: LossInputs, is_padded: bool) -> Tensor:
        if len(inputs.mask) >= too_large:
            raise torch.OutOfMemoryError("no memory left")
        return inputs.mask.sum()

    run = GradientPass(compute, [], Recorded, Remembering())
    for _ in range(2):
        run(inputs_of([4, 2], [5, 3]))
    assert len(run._graphs) == 1
    for _ in range(2):  # it is not taken for a shape that may be captured
        with pytest.raises(torch.OutOfMemoryError):
            run(inputs_of([4, 2, 1], [5, 3, 1]))
        assert not run._graphs and run.captures
    assert run(inputs_of([4, 2], [5, 3])) == 8


def test_only_so_many_shapes_are_kept() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    run = GradientPass(counting(calls), [], Recorded, Remembering())
    for rows in range(1, MOST_GRAPHS + 3):
        for _ in range(2):
            run(inputs_of([2] * rows, [1] * (rows - 1) + [2]))
    assert len(run._graphs) == MOST_GRAPHS


def learner_of(base: Path, folder: Path) -> tuple[Learner, Ppo]:
    """The tiny base with an adapter that changes what it says."""
    job = make_job(make_recipe(base), "ppo", folder, prompts=[{"prompt": PROMPTS[0]}])
    settings = Ppo.model_validate(job.settings["ppo"])
    learner = load_learner(job, settings, None)
    for parameter in trainable_parameters(learner):
        torch.nn.init.normal_(parameter, std=0.1)
    return learner, settings


@pytest.mark.parametrize("change", ["none", "padding"])
def test_gradients_are_those_of_the_narrow_pass(tiny_base: Path, tmp_path: Path, change: str) -> None:
    """Padding more columns changes nothing; and where none is empty, neither does leaving out the mask."""
    learner, settings = learner_of(tiny_base, tmp_path)
    inputs = inputs_of([6, 6] if change == "none" else [6, 3], [5, 5] if change == "none" else [5, 2])
    ways: list[Callable[[], Tensor]] = [
        lambda: ppo.backward(learner, settings, inputs, True),
        lambda: ppo.backward(learner, settings, inputs.padded(), True) if change == "padding" else ppo.backward(
            learner, settings, inputs, False)]
    results = []
    for way in ways:
        learner.optimizer.zero_grad()
        sums = way()
        results.append([sums, *(parameter.grad.clone() for parameter in trainable_parameters(learner)
                                if parameter.grad is not None)])
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, rtol=1e-4, atol=1e-6)


def test_a_run_whose_passes_are_captured_learns_what_others_learn(
        tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned trajectory, from passes that are padded and replayed, and gradients that are zeroed in place."""
    graphs: list[Recorded] = []

    def capture(*arguments: Any) -> Recorded:
        graphs.append(Recorded(*arguments))
        return graphs[-1]

    monkeypatch.setattr(ppo, "can_capture", lambda *_: True)
    monkeypatch.setattr(ppo, "CapturedOnGpu", capture)
    job = make_job(make_recipe(tiny_base), "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": p} for p in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path / "run", reporter)
    assert graphs
    for step, numbers in PINNED.items():
        assert [reporter.metrics[step][tag] for tag in TAGS] == pytest.approx(numbers, rel=2e-3, abs=2e-3)
