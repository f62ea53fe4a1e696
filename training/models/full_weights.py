"""Full fine-tuning: every weight of a policy is trained, beside a frozen copy of what it began as, its reference.

The optimizer's weights are fp32 whatever the model computes in: an AdamW step of 1e-6 is less than a bf16 weight can
show, and would be lost. A model in bf16 has an fp32 master copy of each weight, which collects the gradients of all
micro-batches and is rounded into the model after each step (mixed precision, arXiv 1710.03740). Either way a parameter
takes 20 bytes: the model's weight, the reference's, and weight, gradient and two moments in fp32.

Left out: several processes and sharded weights (FSDP), a reference that is moved to the host.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from training.errors import ModelUnavailable
from training.models import language_model
from training.models.language_model import LanguageModel

SHARD_SIZE = "5GB"
"""The most that one file of a saved model holds."""


def train_every_weight(language: LanguageModel) -> LanguageModel:
    """The model with all of its weights trainable; a copy of what they are now is its reference.

    Raises:
        OutOfMemory: the copy does not fit the device.
    """
    with language_model.translate_oom():
        frozen = tuple(parameter.data.clone() for parameter in language.model.parameters())
    language.model.requires_grad_(True)
    return replace(language, reference_weights=frozen)


class MasterWeights:
    """The fp32 weights that the optimizer updates: a model's own, or copies of those that are bf16.

    Attributes:
        parameters: one for each parameter of the model, in its order.
    """

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())
        self._names, self._computing = list(named), list(named.values())
        self.parameters = [_master(parameter) for parameter in self._computing]
        for computing, master in zip(self._computing, self.parameters, strict=True):
            if computing is not master:
                computing.register_post_accumulate_grad_hook(partial(_move_gradient, master))

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the weights into the model, after each optimizer step. They stay at their addresses."""
        for computing, master in zip(self._computing, self.parameters, strict=True):
            if computing is not master:
                computing.copy_(master)

    def save(self, path: Path) -> None:
        """Write the weights in fp32, from which `load` makes the same bits again."""
        save_file({name: master.detach().contiguous()
                   for name, master in zip(self._names, self.parameters, strict=True)}, path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        weights = load_file(path)
        for name, master in zip(self._names, self.parameters, strict=True):
            master.copy_(weights[name])
        self.write_back()


def _master(parameter: nn.Parameter) -> nn.Parameter:
    return parameter if parameter.dtype == torch.float32 else nn.Parameter(parameter.detach().float())


def _move_gradient(master: nn.Parameter, computing: torch.Tensor) -> None:
    """Add what a backward pass left in a parameter to its master's gradient, in fp32."""
    gradient, computing.grad = computing.grad, None
    if gradient is None:
        return
    if master.grad is None:
        master.grad = gradient.float()
    else:
        master.grad.add_(gradient)


def save_model(language: LanguageModel, folder: Path) -> None:
    """Write the whole model with its tokenizer: safetensors in shards, which `language_model.load` reads."""
    language.model.save_pretrained(str(folder), max_shard_size=SHARD_SIZE)
    language.tokenizer.save_pretrained(str(folder))


def tuned_folder(stage: Path) -> Path:
    """What a complete ppo stage made: its `model/` where every weight was trained, else its `adapter/`."""
    return stage / "model" if (stage / "model").is_dir() else stage / "adapter"


def load_tuned(language: LanguageModel, folder: Path) -> LanguageModel:
    """A policy from its base and the folder that a ppo stage made of it: an adapter, or a whole model.

    Raises:
        ModelUnavailable: the folder cannot be read, or belongs to another base.
        OutOfMemory: both models do not fit the device.
    """
    if not (folder / "config.json").is_file():
        return language_model.load_adapter(language, folder)
    precision = "bf16" if language.model.dtype == torch.bfloat16 else "fp32"
    tuned = language_model.load(folder, language.device, precision).model
    started = tuple(parameter.data for parameter in language.model.parameters())
    if [weight.shape for weight in started] != [parameter.shape for parameter in tuned.parameters()]:
        raise ModelUnavailable(f"The tuned model has other weights than its base '{language.name}'.",
                               "Choose the base that it was trained from.")
    return replace(language, model=tuned, reference_weights=started)
