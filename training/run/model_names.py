"""Which model a typed name means: the demo world's, a folder of the folder of models, or one on the hub. Torch-free.

The form, the check of a recipe, the engine and the command line all ask `ModelHome.locate`, so that a name means the
same model in all of them. A name is looked up in the folder of models first, then among the packages that carry a model
(`packed_models`), and on the hub if there is none of that name.
A path (absolute, or beginning with ./ or ../) is accepted only from someone who can read the machine's disk anyway: the
owner of the shell. On the web it must lie inside the folder of models.

A stage's process gets the folder from job.json (`Job.runtime`), because a library reads no environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import DEMO_WORLD
from training.config.hub_names import is_hub_id
from training.demo_world import WEIGHTS
from training.errors import ModelUnavailable
from training.run.packed_models import PACKAGES, SUFFIX, PackedModel, file_of_package, packed_model

_PATH_STARTS = ("/", "./", "../", "~", "\\")


@dataclass(frozen=True)
class ModelHome:
    """Where names of models are looked up.

    Attributes:
        folder: the folder of models; None: there is none, and every name that is no path goes to the hub.
        paths: whether a path outside the folder of models may be named.
    """

    folder: Path | None = None
    paths: bool = True

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelHome:
        return cls(Path(value["folder"]) if value.get("folder") else None, bool(value.get("paths", True)))

    def to_json(self) -> dict[str, Any]:
        return {"folder": str(self.folder.absolute()) if self.folder else None, "paths": self.paths}

    def locate(self, name: str, field: str = "") -> Path | None:
        """The folder that a name means, or None for a model on the hub and for one that is still packed.

        Args:
            field: the setting that holds the name, for the message.

        Raises:
            ModelUnavailable: the name means no model that may be used here.
        """
        says = f"'{field}' is '{name}'" if field else f"The base model is '{name}'"
        if name == DEMO_WORLD:
            return WEIGHTS
        if packed := self.packed(name, field):
            return packed.folder if packed.is_unpacked else None
        if _is_path(name) and self.paths:
            return self._path(name, says)
        inside = self._inside(name)
        if inside is not None:
            return inside
        if _is_path(name):
            raise ModelUnavailable(f"{says}: a path outside the server's folder of models cannot be used.",
                                   self._remedy(name))
        if not is_hub_id(name):
            raise ModelUnavailable(f"{says}: that is neither {self._folders} nor a hub id.", self._remedy(name))
        if Path(name).exists():
            # transformers would load that folder and not ask the hub.
            raise ModelUnavailable(
                f"{says}: the folder of models has none of that name, and a folder '{name}' of the working directory "
                "hides the hub's model of that name.",
                f"Write './{name}' for the folder in the working directory, or rename it to get the hub's."
                if self.paths else "Give another hub id, or ask whoever runs the server to rename that folder.")
        return None

    def packed(self, name: str, field: str = "") -> PackedModel | None:
        """The model in a GGUF file that a name means: a file's name ends in .gguf, a package's stands in PACKAGES.

        Raises:
            ModelUnavailable: there is no such file that may be used here, or the package is not installed.
        """
        says = f"'{field}' is '{name}'" if field else f"The base model is '{name}'"
        if name in PACKAGES and self._inside(name) is None:
            return packed_model(file_of_package(name, says), self._unpacked)
        if not name.lower().endswith(SUFFIX) or self._inside(name) is not None:
            return None
        file = Path(name).expanduser() if _is_path(name) and self.paths else self._inside(name, of_file=True)
        if file is None or not file.is_file():
            raise ModelUnavailable(f"{says}: there is no such file.", self._remedy(name))
        return packed_model(file, self._unpacked)

    @property
    def _unpacked(self) -> Path:
        """Where packed models are kept unpacked: an own folder, so that its names cannot be taken for models'."""
        return (self.folder.absolute() / ".unpacked" if self.folder is not None
                else Path.home() / ".cache" / "concord" / "unpacked")

    def _inside(self, name: str, of_file: bool = False) -> Path | None:
        """The folder, or file, of that name inside the folder of models, links resolved."""
        if self.folder is None or (_is_path(name) and not Path(name).is_absolute()):
            return None
        home = self.folder.resolve()
        try:
            folder = (home / name).resolve()
            is_there = folder.is_file() if of_file else folder.is_dir()
            is_model = is_there and folder != home and folder.is_relative_to(home)
        except (OSError, ValueError):  # too long, or with a NUL
            return None
        return folder if is_model else None

    def _path(self, name: str, says: str) -> Path:
        try:
            folder = Path(name).expanduser()
            is_folder = folder.is_dir()
        except (OSError, ValueError, RuntimeError):
            is_folder = False
        if not is_folder:
            raise ModelUnavailable(f"{says}: there is no such folder.", "Check the path, or give a hub id.")
        return folder

    @property
    def _folders(self) -> str:
        return f"a folder inside '{self.folder}'" if self.paths and self.folder else "a folder of models"

    def _remedy(self, name: str) -> str:
        choices = f"Give '{DEMO_WORLD}', a hub id like owner/name, or the name of a folder inside "
        if not self.paths:
            return f"{choices}the server's folder of models."
        return f"{choices}the folder of models ('--models'), or a path that begins with / or ./ (as './{name}')."


_SHELL = ModelHome()
_HOME: ContextVar[ModelHome] = ContextVar("model_home", default=_SHELL)


@contextmanager
def models_at(home: ModelHome) -> Iterator[None]:
    """Within it, names of models are looked up there."""
    before = _HOME.set(home)
    try:
        yield
    finally:
        _HOME.reset(before)


def model_home() -> ModelHome:
    """Where this process looks up names of models."""
    return _HOME.get()


def locate(name: str, field: str = "") -> Path | None:
    """`ModelHome.locate` of this process."""
    return model_home().locate(name, field)


def _is_path(name: str) -> bool:
    return name in {".", ".."} or name.startswith(_PATH_STARTS)
