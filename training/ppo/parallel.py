"""PPO in several processes, one a GPU: each answers, scores and reads its share of a phase, and gradients are added up.

Started by `accelerate launch --config_file training/recipes/accelerate/ddp.yaml -m training stage DIR`; each process
holds the whole model. The answers of a phase, their scores and log-probabilities are a few numbers a token, so all of
them are made known to all. From there on every process does the same sums: advantages are whitened over the whole
batch, the KL is that of the whole batch, and a minibatch is the one that a single process would draw. Only the passes
over it are shared out; their gradients are sums over tokens divided by the tokens of the whole minibatch, added up
before the step. So the step is that of one process, up to rounding.

Alone, everything here is the identity: a run in one process keeps its bits. What a process draws depends on how many
there are, as the numbers of an answer do. Left out: sharded weights (FSDP: a policy that is merged for decoding is not
whole in any process), several processes for GRPO, RLOO and the other stages, and elastic restarts.
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
    """Meet the other processes, at the address that the launcher put into the environment."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    dist.destroy_process_group()


def world_size() -> int:
    """How many processes there are; 1 for one that has joined no others."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that reports and saves."""
    return world_size() == 1 or dist.get_rank() == 0


def shard(rows: Tensor) -> Tensor:
    """This process's part of some rows; all parts together are the rows in their order."""
    return rows if world_size() == 1 else rows.tensor_split(world_size())[dist.get_rank()]


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors, in each of them."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def all_reduce_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Put the sum of the processes' gradients into each of them, in one message."""
    if world_size() == 1:
        return
    owners = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat([(torch.zeros_like(owner) if owner.grad is None else owner.grad).flatten() for owner in owners])
    pieces = all_reduce_sum(flat).split([owner.numel() for owner in owners])
    for owner, piece in zip(owners, pieces, strict=True):
        owner.grad = piece.view_as(owner).clone()


def own_generator(generator: torch.Generator) -> torch.Generator:
    """A generator for what this process draws alone; the shared one moves on alike everywhere."""
    if world_size() == 1:
        return generator
    drawn = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator().manual_seed(drawn + dist.get_rank())


def gather_rollout(part: Rollout, prompts: Tensor, prompt_mask: Tensor) -> Rollout:
    """The rollout of all prompts from the processes' answers to their shares of them."""
    if world_size() == 1:
        return part
    length = torch.tensor(part.responses.shape[1], device=prompts.device)
    dist.all_reduce(length, op=dist.ReduceOp.MAX)
    rows = shard(torch.arange(len(prompts), device=prompts.device))

    def spread(piece: Tensor) -> Tensor:
        shape = (len(prompts), *([int(length)] if piece.dim() == 2 else []))
        full = torch.zeros(shape, dtype=piece.dtype, device=piece.device)
        full[(rows, slice(0, piece.shape[1])) if piece.dim() == 2 else rows] = piece
        return all_reduce_sum(full)

    ended = spread(part.ended.long()).bool()
    return part._replace(prompts=prompts, prompt_mask=prompt_mask, responses=spread(part.responses),
                         mask=spread(part.mask), ended=ended)


def gather_rewards(rewards_of: PrincipleRewards, prompts: Sequence[Dialogue], responses: Sequence[str],
           batch_size: int, device: torch.device) -> Rewards:
    """The rewards of all responses, of which each process scores its share."""
    if world_size() == 1:
        return rewards_of(prompts, responses, batch_size)
    rows = shard(torch.arange(len(prompts))).tolist()
    found = rewards_of([prompts[row] for row in rows], [responses[row] for row in rows], batch_size)
    tables = []
    for part in (found.raw, found.standardised):
        full = torch.zeros(len(prompts), part.shape[1], device=device)
        full[rows] = part.to(device)
        tables.append(all_reduce_sum(full).cpu())
    return rewards_of.of_scores(*tables)


def rank_zero_reporter(reporter: Reporter, least: int) -> Reporter:
    """The reporter of this process: the main one tells all, the others nothing, and all stop together.

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
    """The main process's reporter in it, silence in the others; a stop of the main one is a stop of all."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter: Reporter = NullReporter()
        if is_main():
            self._reporter = reporter
        self._device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)

    def rewind(self, step: int) -> None:
        """Told when all is loaded: nobody goes on, to write over a checkpoint, before everybody has read it."""
        dist.barrier()
        self._reporter.rewind(step)

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        asked = torch.zeros((), device=self._device)
        try:
            self._reporter.checkpoint_if_stopped(save)
        except StopRequested:
            asked += 1
        if all_reduce_sum(asked) > 0:
            raise StopRequested
