"""What changes while PPO trains: adapter or weights, critic, optimizer, random numbers; made, saved, restored.

A checkpoint is written to a temporary folder and renamed, so there is always a complete one; a resumed run gives the
same bits as one that was never stopped.
Left out: checkpoints of GRPO and RLOO, which are TRL's own.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from training.config import Policy, Ppo
from training.errors import BadSettings, DiskFull
from training.models import full_weights, language_model
from training.models.conditioned_adapter import ConditionedAdapter, ConditionedValueHead, add_corners
from training.models.exactness import check_decoding
from training.models.full_weights import MasterWeights
from training.models.language_model import LanguageModel
from training.models.loaded_shape import head_width
from training.ppo import parallel
from training.ppo.conditioning import corner_names
from training.run.artifacts import Job, kept_policy, newest_checkpoint, publish_checkpoint, read_json

WEIGHTS = "weights.safetensors"
"""In a checkpoint, the fp32 weights of a policy that is trained in full."""


@dataclass
class Learner:
    """All that changes during training, which is what a checkpoint holds.

    `masters` are the fp32 weights of a policy that is trained in full, None for one with an adapter; `conditioned` are
    the corners of an adapter for every trade-off, None for another one. `step` counts finished phases, `multipliers`
    are the logarithms of those of hard constraints, `metrics` are those of the last phase. Everything random is drawn
    from `generator`, or follows from the number of a phase and the seed, as its prompts do.
    """

    language: LanguageModel
    value_head: language_model.Critic
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    kl_coefficient: float
    masters: MasterWeights | None = None
    conditioned: ConditionedAdapter | None = None
    step: int = 0
    multipliers: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def trainable_parameters(learner: Learner) -> list[torch.nn.Parameter]:
    """The parameters that the optimizer updates, in its order."""
    return [parameter for group in learner.optimizer.param_groups for parameter in group["params"]]


def load_learner(job: Job, settings: Ppo, checkpoint: Path | None) -> Learner:
    """The policy with a fresh adapter and critic, or as the checkpoint left them; without LoRA all of it is trained.

    Raises:
        BadSettings: every weight is to be trained by several processes.
        ModelUnavailable, OutOfMemory: the base cannot be loaded, or does not fit.
    """
    policy = Policy.model_validate(job.settings["policy"])
    if policy.lora is None and parallel.world_size() > 1:
        raise BadSettings(f"'policy.lora' is null, and {parallel.world_size()} processes were started: every weight of "
                          "a policy is trained by one process only.",
                          "Start one process, or train an adapter: 'policy.lora: {r: 16, alpha: 32}'.")
    seed = job.settings["seed"]
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else policy.base
    language = language_model.load(base, language_model.pick_device(job.settings["device"]), job.settings["precision"])
    check_decoding(language, "policy.base")
    corners = _corners(job, settings)
    critic = (language_model.make_critic(language, settings.critic) if not corners else
              ConditionedValueHead(head_width(language.model), len(corners)).to(language.device))
    torch.manual_seed(seed)  # the adapter's first weights
    masters = None
    if policy.lora is None:
        language = full_weights.train_every_weight(language)
        masters = MasterWeights(language.model)
    elif checkpoint is None:
        language = (add_corners(language, policy.lora, len(corners)) if corners else
                    language_model.add_adapter(language, policy.lora))
    else:
        language = language_model.load_adapter(language, checkpoint / "adapter", trainable=True)
    conditioned = ConditionedAdapter(language, corners) if corners else None
    own = conditioned if conditioned is not None else masters
    weights = language_model.trainable_parameters(language) if own is None else own.parameters
    parameters = [*weights, *critic.parameters()]
    # One launch for all parameters where a GPU would be given one for each operation on each of them.
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0,
                                  fused=language.device.type == "cuda")
    generator = torch.Generator().manual_seed(seed)
    learner = Learner(language, critic, optimizer, generator, settings.kl.coefficient, masters, conditioned)
    if checkpoint is not None:
        restore(learner, checkpoint)
    return learner


def _corners(job: Job, settings: Ppo) -> list[str]:
    """The principles that a conditioned policy trades off; none where it is not conditioned."""
    if not settings.conditioned:
        return []
    return corner_names(job.settings["principles"], read_json(job.inputs["weights"] / "weights.json")["weights"])


def restore(learner: Learner, checkpoint: Path) -> None:
    """Restore all but the adapter, which is loaded with the model. No pickle is run: tensors and numbers only."""
    if learner.masters is not None:
        learner.masters.load(checkpoint / WEIGHTS)
    learner.value_head.load(checkpoint / "value_head.safetensors")
    state: dict[str, Any] = torch.load(checkpoint / "state.pt", weights_only=True, map_location="cpu")
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.generator.set_state(state["generator"])
    learner.kl_coefficient = state["kl_coefficient"]
    learner.step = state["step"]
    learner.multipliers = state["multipliers"]
    learner.metrics = state.get("metrics", {})  # checkpoints of earlier versions have none


def save_checkpoint(learner: Learner, checkpoints: Path) -> None:
    """Write the learner to a temporary folder and make it the newest checkpoint by one rename.

    Raises:
        DiskFull: nothing was renamed; the checkpoint before is still the newest, and complete.
    """
    if newest_checkpoint(checkpoints) == checkpoints / f"step-{learner.step:08d}":
        return
    temporary = checkpoints / "unfinished"
    with _whole_or_not(temporary, f"the checkpoint of step {learner.step}"):
        if learner.masters is not None:
            learner.masters.save(temporary / WEIGHTS)
        else:
            with learner.conditioned.without_shares() if learner.conditioned is not None else nullcontext():
                language_model.save_adapter(learner.language, temporary / "adapter")
        learner.value_head.save(temporary / "value_head.safetensors")
        state = {
            "optimizer": learner.optimizer.state_dict(),
            "generator": learner.generator.get_state(),
            "kl_coefficient": learner.kl_coefficient,
            "step": learner.step,
            "multipliers": learner.multipliers,
            "metrics": learner.metrics,
        }
        torch.save(state, temporary / "state.pt")
        publish_checkpoint(temporary, checkpoints, learner.step)


def keep_policy(learner: Learner, folder: Path) -> None:
    """Write the policy of this step to stay, by one rename; a killed attempt that wrote it wrote the same.

    Raises:
        DiskFull: nothing was renamed; the newest checkpoint is complete.
    """
    kept = kept_policy(folder, learner.step)
    if kept.is_dir():
        return
    temporary = folder / "checkpoint" / "unfinished"
    with _whole_or_not(temporary, f"the policy of step {learner.step}"):
        save_policy(learner, temporary)
        kept.parent.mkdir(exist_ok=True)
        os.replace(temporary, kept)


@contextmanager
def _whole_or_not(temporary: Path, what: str) -> Iterator[None]:
    """An empty folder to write to; nothing of it stays if that fails. Raises DiskFull for a full disk."""
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed here
        temporary.mkdir(parents=True)
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not is_full(error):
            raise
        raise DiskFull(
            f"The disk is full: {what} could not be written.",
            "Free some space and resume: the run goes on from the checkpoint before it, which is whole.",
        ) from error


def save_policy(learner: Learner, folder: Path) -> str:
    """Write the trained policy, `adapter/` or `model/`, and its corners if it has some; returns the folder's name."""
    if learner.conditioned is not None:
        learner.conditioned.save_corners(folder)
    if learner.masters is None:
        language_model.save_adapter(learner.language, folder / "adapter")
        return "adapter"
    full_weights.save_model(learner.language, folder / "model")
    return "model"


def is_full(error: BaseException) -> bool:
    """Whether a write failed because the disk is full; torch and safetensors say so in their message only."""
    numbers = {errno.ENOSPC, errno.EDQUOT}
    return (isinstance(error, OSError) and error.errno in numbers) or "No space left" in str(error)
