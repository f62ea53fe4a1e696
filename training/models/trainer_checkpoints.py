"""Atomic checkpoints for transformers' trainers: written to a temporary folder, synced, renamed.

A trainer writes a checkpoint file by file, and takes the highest number for the newest, complete or not. Here it writes
into `checkpoint/unfinished/`; when it has ended, `state.json` is added (sizes of all files, and what else a stage must
remember), everything is synced, and one rename makes it `checkpoint/checkpoint-N`. Then older checkpoints are removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.run.artifacts import read_json, write_json

STATE = "state.json"
UNFINISHED = "unfinished"
# What a checkpoint of an earlier version, which has no list of its files, must hold.
_NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "adapter_model.safetensors", "adapter_config.json")


class WholeCheckpoints(TrainerCallback):
    """Publishes each checkpoint that a trainer has written. The trainer's `output_dir` must be `writing_folder`.

    Args:
        folder: where whole checkpoints are.
        remember: returns what a stage needs to resume, as JSON; called when a checkpoint has been written.
    """

    def __init__(self, folder: Path, remember: Callable[[], dict[str, Any]] = dict) -> None:
        self._folder, self._remember = folder, remember

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None,
                       **_: Any) -> None:
        if isinstance(model, PeftModel):  # by default peft asks the hub about the base whenever it saves an adapter
            model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        written = writing_folder(self._folder) / f"checkpoint-{state.global_step}"
        sizes = {str(path.relative_to(written)): path.stat().st_size for path in _files(written)}
        write_json(written / STATE, {"files": sizes, "remembered": self._remember()})
        _sync(written)
        published = self._folder / written.name
        shutil.rmtree(published, ignore_errors=True)  # an incomplete one, or the trainer saves a step twice
        os.replace(written, published)
        _sync_folder(self._folder)
        for checkpoint in self._folder.glob("checkpoint-*"):
            if checkpoint != published:
                shutil.rmtree(checkpoint, ignore_errors=True)


def writing_folder(folder: Path) -> Path:
    """The temporary folder into which a trainer writes a checkpoint."""
    return folder / UNFINISHED


def newest_whole(folder: Path) -> Path | None:
    """The newest complete checkpoint; incomplete ones are removed."""
    shutil.rmtree(writing_folder(folder), ignore_errors=True)
    newest = None
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=step_of):
        if _is_whole(checkpoint):
            newest = checkpoint
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)
    return newest


def step_of(checkpoint: Path) -> int:
    """The optimizer steps that were done when a checkpoint was written."""
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def remembered(checkpoint: Path | None) -> dict[str, Any]:
    """What the stage saved with a checkpoint; {} without a checkpoint, or for one of an earlier version."""
    if checkpoint is None or not (checkpoint / STATE).is_file():
        return {}
    values: dict[str, Any] = read_json(checkpoint / STATE)["remembered"]
    return values


def _is_whole(checkpoint: Path) -> bool:
    if step_of(checkpoint) < 0:
        return False
    try:
        if (checkpoint / STATE).is_file():
            sizes: dict[str, int] = read_json(checkpoint / STATE)["files"]
            return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
        read_json(checkpoint / _NEEDED[0])
        return all((checkpoint / name).stat().st_size > 0 for name in _NEEDED)
    except (OSError, ValueError, KeyError):
        return False


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync(folder: Path) -> None:
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
