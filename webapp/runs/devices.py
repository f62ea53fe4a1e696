"""What the workers that train compute on: reported by them, read by the form that says whether a run fits."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from django.utils import timezone

from training.config import Recipe
from training.run.device import Device, this_device
from training.run.memory_plan import RunMemory, StageMemory, run_memory
from webapp.runs.model_home import models_home
from webapp.runs.models import WorkerDevice

RECENT = timedelta(days=7)
"""A worker that has neither started nor taken a stage for so long may be gone."""

TITLES = {"sft": "Fine-tuning", "sample": "Sampling", "label": "Local judge", "preference_model": "Preference model",
          "ppo": "PPO", "evaluate": "Evaluation"}


class MemoryLine(NamedTuple):
    """One kind of stage of the preview, and what to expect on the device: "" where it fits."""

    title: str
    stage: StageMemory
    verdict: str


class MemoryPreview(NamedTuple):
    """What a recipe's stages need of the device that they may get."""

    device: Device
    lines: list[MemoryLine]
    unknown: list[str]

    @property
    def warnings(self) -> int:
        return sum(bool(line.verdict) for line in self.lines)


def device_report(*, host: str, device: Device) -> None:
    """Keep what a worker computes on."""
    WorkerDevice.objects.update_or_create(host=host, defaults={
        "name": device.name, "total_bytes": device.total, "is_gpu": device.is_gpu, "seen_at": timezone.now()})


def smallest_device(wanted: str) -> Device:
    """The smallest device that a stage may get: any worker may take it. Without a report: this machine.

    Args:
        wanted: a recipe's device. "cuda" goes to GPUs, "cpu" to machines; a GPU's worker is one as well, of a memory
            that is not known here.
    """
    recent = WorkerDevice.objects.filter(seen_at__gt=timezone.now() - RECENT)
    if wanted in ("cpu", "mps"):
        recent = recent.filter(is_gpu=False)
    elif wanted == "cuda":
        recent = recent.filter(is_gpu=True)
    smallest = recent.order_by("total_bytes").first()
    if smallest is None:
        return this_device(wanted)
    name = smallest.name if smallest.is_gpu else "a worker without a GPU"
    return Device(smallest.total_bytes, smallest.is_gpu, name)


def memory_preview(recipe: Recipe) -> MemoryPreview:
    """The memory of a recipe's stages on the workers' smallest device.

    Raises:
        ModelUnavailable: a base's name means no model.
    """
    device = smallest_device(recipe.device)
    memory: RunMemory = run_memory(recipe, device, models_home())
    return MemoryPreview(device, [
        MemoryLine(TITLES[stage.kind], stage, stage.verdict(device)) for stage in memory.stages], memory.unknown)
