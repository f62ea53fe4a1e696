"""How many responses one pass over the policy reads: as many as the memory of a GPU holds, fewer after an OOM.

A micro-batch changes nothing but rounding: gradients of micro-batches are summed before an optimizer step. On a GPU a
pass over few rows costs its launches, whatever it computes, so there a micro-batch grows from `ppo.micro_batch` to what
the memory should hold, estimated from the model's shape. If the device runs out of memory all the same (another process
may use it), the micro-batch is halved, this is said in the log, and the pass is done again. On a CPU it stays as set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from training.errors import OutOfMemory
from training.models.fast_layers import has_kernels
from training.models.language_model import LanguageModel
from training.models.memory import activation_bytes_per_token, device_memory, loaded_size
from training.models.rollouts import Rollout
from training.run import memory_plan
from training.run.reporting import Reporter

Result = TypeVar("Result")


class OneRowTooLarge(OutOfMemory):
    """An OOM with a remedy of its own: `ppo.micro_batch` is no longer what to lower."""


class MicroBatch:
    """The rows of a pass: `rows`, at least those of the settings until an OOM.

    Args:
        rows: `ppo.micro_batch`.
        reporter: is told of a halved micro-batch.
    """

    def __init__(self, rows: int, reporter: Reporter) -> None:
        self.rows = self._least = rows
        self._most: int | None = None  # after an OOM
        self._reporter = reporter

    def fit(self, language: LanguageModel, rollout: Rollout) -> None:
        """Choose the rows for this phase's prompts and responses."""
        fitting = max(self._least, rows_that_fit(language, rollout.prompts.shape[1], rollout.responses.shape[1]))
        self.rows = fitting if self._most is None else min(fitting, self._most)

    def attempt(self, work: Callable[[int], Result]) -> Result:
        """`work(rows)`, again with half the rows after each OOM. The work must leave nothing behind when it fails.

        Raises:
            OneRowTooLarge: there is nothing left to halve.
        """
        while True:
            try:
                return work(self.rows)
            except torch.OutOfMemoryError as error:
                if self.rows == 1:
                    raise OneRowTooLarge(
                        "The device ran out of memory with a micro-batch of one row.",
                        "Lower 'ppo.max_new_tokens', turn 'ppo.gradient_checkpointing' on, use bf16, or choose a "
                        "smaller base.") from error
                self.rows = self._most = self.rows // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._reporter.log(f"The GPU ran out of memory: micro-batches have {self.rows} rows from here on.",
                               "warning")


def rows_that_fit(language: LanguageModel, prompt: int, response: int) -> int:
    """Rows of `prompt` and `response` tokens whose forward and backward pass the device should hold; 0 on a CPU."""
    weights = sum(parameter.nbytes for parameter in language.model.parameters())
    if language.reference_weights:
        parameters = sum(weight.numel() for weight in language.reference_weights)
        weights = memory_plan.fully_trained_bytes(parameters, language.model.dtype.itemsize)
    return memory_plan.rows_that_fit(device_memory(language.device), weights,
                                     bytes_per_row(language.model, prompt, response))


def bytes_per_row(model: Any, prompt: int, response: int) -> float:
    """What a forward and backward pass keeps of one row: activations of every layer, and logits where responses are."""
    logits = memory_plan.logit_bytes(loaded_size(model), model.dtype.itemsize, has_kernels(model.device))
    return (prompt + response) * activation_bytes_per_token(model, fused=True) + response * logits
