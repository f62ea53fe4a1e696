"""The answers of training with their scores, kept in Parquet beside the stage to be looked through afterwards.

Every phase's answers are kept, or those of every n-th where they would be too many (`ppo.keep_rollouts`): the prompt,
the text, each principle's raw and standardised score, the reward and the KL. They are written at each checkpoint, a
file for the phases since the one before, so that a run that goes on from a checkpoint finds what belongs to it: files
of later phases are deleted, and the phases are done again. Left out: the KL of each response in GRPO and RLOO, of which
TRL tells the mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from training.config import Ppo
from training.dialogue import Dialogue, shown_prompt
from training.errors import DiskFull
from training.ppo import parallel
from training.ppo.learner import is_full
from training.reward.rewards import Rewards
from training.run.artifacts import ROLLOUTS, Job

RAW, STANDARDISED = "raw", "standardised"
"""Columns of a principle's scores are called `raw/NAME` and `standardised/NAME`."""


class RolloutLog:
    """Answers of the phases since the last file.

    Args:
        folder: of the stage.
        names: the rewarded principles.
        phases, batch: how many answers there will be.
        most: at most so many are kept, evenly over the phases; 0: none.
    """

    def __init__(self, folder: Path, names: Sequence[str], phases: int, batch: int, most: int) -> None:
        self._folder, self._names = folder / ROLLOUTS, names
        self.every = max(1, -(-phases * batch // most)) if most else 0
        self._rows: dict[str, list[Any]] = {}
        self._last = 0

    def rewind(self, step: int) -> None:
        """Forget the phases after a step: they will be done again."""
        self._rows = {}
        for path in self._folder.glob("*.parquet"):
            if int(path.stem) > step:
                path.unlink()

    def add(self, step: int, prompts: Sequence[Dialogue], responses: Sequence[str], rewards: Rewards, reward: Tensor,
            kl: Tensor | None, tokens: Tensor, ended: Tensor) -> None:
        """Keep the answers of a phase, if it is one of those that are kept.

        Args:
            reward: what the policy was trained towards, before the KL penalty, [batch]; so are the next.
            kl: distance from the reference over the whole response, in nats; None where it is not known.
            tokens: of the response.
            ended: whether the response ended by itself.
        """
        self._last = step
        if not self.every or (step - 1) % self.every:
            return
        columns: dict[str, Iterable[Any]] = {
            "step": [step] * len(responses), "prompt": [*map(shown_prompt, prompts)], "response": responses,
            "reward": reward.tolist(), "total": rewards.total.tolist(),
            "kl": [None] * len(responses) if kl is None else kl.tolist(),
            "tokens": [int(count) for count in tokens.tolist()], "ended": ended.tolist(),
            "active": [self._names[index] for index in rewards.active.tolist()],
        }  # fmt: skip
        for kind, scores in ((RAW, rewards.raw), (STANDARDISED, rewards.standardised)):
            columns |= {f"{kind}/{name}": scores[:, place].tolist() for place, name in enumerate(self._names)}
        for name, values in columns.items():
            self._rows.setdefault(name, []).extend(values)

    def flush(self) -> None:
        """Write what was added since the last time, by one rename. Raises DiskFull."""
        if not self._rows:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(values, _type_of(name)) for name, values in self._rows.items()})
        self._folder.mkdir(exist_ok=True)
        temporary = self._folder / "unfinished"
        try:
            pq.write_table(table, temporary, compression="zstd")
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if not is_full(error):
                raise
            raise DiskFull("The disk is full: the responses of training could not be written.",
                           "Free some space and resume: the run goes on from its newest checkpoint.") from error
        os.replace(temporary, self._folder / f"{self._last:08d}.parquet")
        self._rows = {}


def rollout_log(job: Job, folder: Path, settings: Ppo, names: Sequence[str]) -> RolloutLog:
    """Where the responses of training are kept; one process of several does it."""
    most = job.runtime.get("keep_rollouts", settings.keep_rollouts) if parallel.is_main() else 0
    return RolloutLog(folder, names, settings.steps, settings.batch_size, most)


def _type_of(column: str) -> Any:
    import pyarrow as pa

    whole_numbers = {"step": pa.int32(), "tokens": pa.int32()}
    texts = {"prompt": pa.string(), "response": pa.string(), "active": pa.string(), "ended": pa.bool_()}
    return (whole_numbers | texts).get(column, pa.float32())
