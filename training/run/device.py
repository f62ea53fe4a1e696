"""What this machine computes on. Found without torch: a process that asks may fork later, and CUDA survives no fork.

Left out: AMD's and Apple's GPUs, which count as the machine's own memory, and GPUs that are cut into parts (MIG).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MIB = 1024**2


class Device(NamedTuple):
    """What a stage computes on.

    Attributes:
        total: bytes of memory of the GPU, or of the machine where there is none.
        is_gpu: whether it is a GPU.
        name: for people.
    """

    total: int
    is_gpu: bool
    name: str = ""


def this_device(wanted: str = "auto") -> Device:
    """The GPU with the most memory, or this machine.

    Args:
        wanted: a recipe's device; with "cpu" no GPU is looked for.
    """
    return max(_gpus() if wanted in ("auto", "cuda") else [], key=lambda gpu: gpu.total, default=this_machine())


def this_machine() -> Device:
    return Device(host_bytes(), False, "this machine")


def host_bytes() -> int:
    """The memory that this process may use: the machine's, or the limit of its container."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(installed, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return installed


def _gpus() -> list[Device]:
    """The GPUs that NVIDIA's own tool lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in listed.splitlines() if (gpu := _gpu_of(line)) is not None]


def _gpu_of(line: str) -> Device | None:
    """A line of the list, such as `NVIDIA L4, 23034`."""
    name, _, mebibytes = line.rpartition(",")
    return Device(int(mebibytes) * _MIB, True, name.strip()) if mebibytes.strip().isdigit() else None
