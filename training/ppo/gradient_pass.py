"""The forward and backward pass of one micro-batch: on a GPU a CUDA graph for each shape.

A pass over a policy of half a billion parameters is some 2,400 kernels, which take a GPU 44 ms and the processor that
launches them 110. So the second pass of a shape is captured as a graph, and from then on replayed. That there are few
shapes is the caller's part: prompts and responses are padded to a multiple of WIDTH_STEP, which changes no number, as
padding is masked.

What a graph reads and writes has fixed addresses: the weights, the adapter rounded to bf16, and the gradients, which it
adds to. They must be zeroed in place, never replaced. A graph whose addresses no longer hold is not used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.models.rollouts import Rollout
from training.run.reporting import Reporter

WIDTH_STEP = 32
"""Columns of prompts and of responses are a multiple of this where passes are captured."""

MOST_GRAPHS = 8
"""Shapes that are kept; beyond them passes are run as they are."""


class LossInputs(NamedTuple):
    """What the loss of a micro-batch is computed from, [rows, columns] each but the last.

    Attributes:
        tokens: response tokens of the whole minibatch, over which the loss is a mean; of no dimension.
    """

    prompts: Tensor
    prompt_mask: Tensor
    responses: Tensor
    mask: Tensor
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    tokens: Tensor

    def rollout(self) -> Rollout:
        ended = torch.empty(0, dtype=torch.bool, device=self.mask.device)  # nothing of a loss depends on it
        return Rollout(self.prompts, self.prompt_mask, self.responses, self.mask, ended)

    def is_padded(self) -> bool:
        """Whether any place is empty."""
        return not bool(self.prompt_mask.all() & self.mask.all())

    def padded(self, step: int = WIDTH_STEP) -> LossInputs:
        """With prompts and responses as wide as a multiple of `step`."""
        left, right = (-tensor.shape[1] % step for tensor in (self.prompts, self.mask))
        prompts = [pad(tensor, (left, 0)) for tensor in self[:2]]
        responses = [pad(tensor, (0, right)) for tensor in self[2:-1]]
        return LossInputs._make([*prompts, *responses, self.tokens])


Compute = Callable[[LossInputs, bool], Tensor]
"""Adds the gradients of a micro-batch, which may be padded or not, to those of the parameters; returns its sums."""


class Captured(Protocol):
    """A captured pass. `pool` is where its memory comes from; graphs that are never replayed at once share it."""

    pool: Any

    def replay(self, inputs: LossInputs) -> Tensor:
        """What the pass would do with these inputs, of the shapes that it was captured with."""


Capture = Callable[[Compute, LossInputs, bool, Any], Captured]
"""Captures a pass with inputs of some shapes, padded or not, without running it; the last is a pool or None."""


class GradientPass:
    """Runs passes, and from the second of a shape on replays them.

    Args:
        compute: one pass; it must not depend on values on the host that change.
        parameters: whose gradients it adds to; where passes are captured, they must be zeroed in place.
        capture: how passes are captured; None for passes that are run as they are, on a CPU for example.
        reporter: is told where a pass cannot be captured.
    """

    def __init__(self, compute: Compute, parameters: Sequence[torch.nn.Parameter], capture: Capture | None,
                 reporter: Reporter) -> None:
        self._compute, self._parameters = compute, parameters
        self._capture_pass, self._reporter = capture, reporter
        self._seen: set[object] = set()
        self._graphs: dict[object, Captured] = {}
        self._addresses: tuple[int, ...] = ()

    @property
    def captures(self) -> bool:
        return self._capture_pass is not None

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The sums of a micro-batch; its gradients are added to those of the parameters."""
        if self._capture_pass is None:
            return self._compute(inputs, True)
        is_padded = inputs.is_padded()
        if is_padded:
            inputs = inputs.padded()
        key = (is_padded, *(tuple(tensor.shape) for tensor in inputs))
        self._forget_if_moved()
        if key in self._graphs:
            return self._graphs[key].replay(inputs)
        if key not in self._seen or len(self._graphs) >= MOST_GRAPHS:
            sums = self._run(inputs, is_padded)
            self._seen.add(key)
            return sums
        pool = next((graph.pool for graph in self._graphs.values()), None)
        try:
            graph = self._capture_pass(self._compute, inputs, is_padded, pool)
        except RuntimeError as error:  # a model may do what cannot be captured, and the memory may be too small
            self._capture_pass = None
            self._graphs.clear()
            self._reporter.log(f"Learning is not captured as CUDA graphs: {str(error).splitlines()[0]}")
            return self._run(inputs, is_padded)
        self._graphs[key] = graph
        return graph.replay(inputs)

    def _run(self, inputs: LossInputs, is_padded: bool) -> Tensor:
        """A pass as it is. After an OOM the caller tries fewer rows, which need the memory that graphs hold."""
        try:
            return self._compute(inputs, is_padded)
        except torch.OutOfMemoryError:
            self._graphs.clear()
            raise

    def _forget_if_moved(self) -> None:
        addresses = tuple(0 if parameter.grad is None else parameter.grad.data_ptr() for parameter in self._parameters)
        if addresses != self._addresses:
            self._graphs.clear()
            self._addresses = addresses


class CapturedOnGpu:
    """A pass as a CUDA graph, the tensors that it reads, and where it leaves its sums."""

    def __init__(self, compute: Compute, inputs: LossInputs, is_padded: bool, pool: Any) -> None:
        torch.cuda.empty_cache()  # what the pass before took is taken again, by the graph
        self._inputs = LossInputs(*(tensor.clone() for tensor in inputs))
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._sums = compute(self._inputs, is_padded)
        self.pool = self._graph.pool()

    def replay(self, inputs: LossInputs) -> Tensor:
        torch._foreach_copy_(list(self._inputs), list(inputs))
        self._graph.replay()
        return self._sums.clone()
