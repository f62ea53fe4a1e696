"""PPO in several processes, one per GPU: each works on its shard of a phase, and gradients are all-reduced.

Started by `accelerate launch --config_file training/recipes/accelerate/ddp.yaml -m training stage DIR`; each process
holds the whole model. The answers of a phase, their scores and log-probabilities are a few numbers per token, so every
process gathers all of them. From there on every process computes the same: advantages are whitened over the whole
batch, the KL is that of the whole batch, and a minibatch is the one that a single process would draw. Only the passes
over it are sharded; their gradients are sums over tokens divided by the tokens of the whole minibatch, all-reduced
before the step. So the step is that of one process, up to rounding.

In a single process every function here is the identity, so that such a run keeps its bits. What a process samples
depends on the number of processes. Left out: sharded weights (FSDP: a policy that is merged for decoding is not whole
in any process), several processes for GRPO, RLOO and the other stages, and elastic restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from training.dialogue import Dialogue
from training.errors import BadSettings, StopRequested
from training.models.rollouts import Rollout
from training.reward.rewards import PrincipleRewards, Rewards
from training.run.reporting import NullReporter, Reporter


def join(local_rank: int) -> None:
    """Join the process group, at the address that the launcher put into the environment."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    dist.destroy_process_group()


def world_size() -> int:
    """The number of processes; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that reports and saves."""
    return world_size() == 1 or dist.get_rank() == 0


def shard(rows: Tensor) -> Tensor:
    """This process's shard of some rows; all shards together are the rows in their order."""
    return rows if world_size() == 1 else rows.tensor_split(world_size())[dist.get_rank()]


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """All-reduce: the sum over all processes of a tensor, which is overwritten with it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """All-reduce the gradients of all parameters in one message."""
    if world_size() == 1:
        return
    owners = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat([(torch.zeros_like(owner) if owner.grad is None else owner.grad).flatten() for owner in owners])
    pieces = all_reduce_sum(flat).split([owner.numel() for owner in owners])
    for owner, piece in zip(owners, pieces, strict=True):
        owner.grad = piece.view_as(owner).clone()


def own_generator(generator: torch.Generator) -> torch.Generator:
    """A generator for what this process alone draws; the shared one advances equally in all processes."""
    if world_size() == 1:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator().manual_seed(seed + dist.get_rank())


def gather_rollout(local_rollout: Rollout, prompts: Tensor, prompt_mask: Tensor) -> Rollout:
    """Gather the rollout of all prompts from each process's answers to its shard of them."""
    if world_size() == 1:
        return local_rollout
    length = torch.tensor(local_rollout.responses.shape[1], device=prompts.device)
    dist.all_reduce(length, op=dist.ReduceOp.MAX)
    rows = shard(torch.arange(len(prompts), device=prompts.device))

    def gathered(piece: Tensor) -> Tensor:
        shape = (len(prompts), *([int(length)] if piece.dim() == 2 else []))
        full = torch.zeros(shape, dtype=piece.dtype, device=piece.device)
        full[(rows, slice(0, piece.shape[1])) if piece.dim() == 2 else rows] = piece
        return all_reduce_sum(full)

    ended = gathered(local_rollout.ended.long()).bool()
    logprobs = None if local_rollout.logprobs is None else gathered(local_rollout.logprobs)
    return local_rollout._replace(prompts=prompts, prompt_mask=prompt_mask, responses=gathered(local_rollout.responses),
                         mask=gathered(local_rollout.mask), ended=ended, logprobs=logprobs)


def gather_rewards(rewards_of: PrincipleRewards, prompts: Sequence[Dialogue], responses: Sequence[str],
           batch_size: int, device: torch.device) -> Rewards:
    """Gather the rewards of all responses; each process scores its shard."""
    if world_size() == 1:
        return rewards_of(prompts, responses, batch_size)
    rows = shard(torch.arange(len(prompts))).tolist()
    local_rewards = rewards_of([prompts[row] for row in rows], [responses[row] for row in rows], batch_size)
    tables = []
    for local_scores in (local_rewards.raw, local_rewards.standardised):
        full = torch.zeros(len(prompts), local_scores.shape[1], device=device)
        full[rows] = local_scores.to(device)
        tables.append(all_reduce_sum(full).cpu())
    return rewards_of.of_scores(*tables)


def rank_zero_reporter(reporter: Reporter, least: int) -> Reporter:
    """The reporter of this process: rank 0 reports everything, the others nothing, and all stop together.

    Args:
        least: rows of the smallest minibatch, of which every process needs one.

    Raises:
        BadSettings: there are more processes than that.
    """
    if world_size() == 1:
        return reporter
    if least < world_size():
        raise BadSettings(f"A minibatch has {least} rows for {world_size()} processes.",
                          f"Raise 'ppo.batch_size', lower 'ppo.minibatches', or start {least} processes.")
    return _RankZeroReporter(reporter)


class _RankZeroReporter:
    """Reports in rank 0 only; a stop of rank 0 stops all processes."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter: Reporter = NullReporter()
        if is_main():
            self._reporter = reporter
        self._device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)

    def rewind(self, step: int) -> None:
        """A barrier, after everything is loaded: no process may overwrite a checkpoint that another is still
        reading."""
        dist.barrier()
        self._reporter.rewind(step)

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        stops = torch.zeros((), device=self._device)
        try:
            self._reporter.checkpoint_if_stopped(save)
        except StopRequested:
            stops += 1
        if all_reduce_sum(stops) > 0:
            raise StopRequested
