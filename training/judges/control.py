"""What may be changed while labels are bought: pause, pace and budget, in a small file in the stage's folder.

The file is written as a whole (`write_control`), and the stage reads it several times per second. It outlives the
process: a paused stage that is restarted is still paused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.config import JudgeSettings
from training.run.artifacts import read_json, write_json

CONTROL = "control.json"


class Control(BaseModel):
    """None leaves a setting as the recipe has it. Budgets are this stage's own, not the run's."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    paused: bool = False
    concurrency: int | None = Field(None, ge=1, le=512)
    requests_per_minute: int | None = Field(None, ge=0)
    tokens_per_minute: int | None = Field(None, ge=0)
    budget_calls: int | None = Field(None, ge=0)
    budget_tokens: int | None = Field(None, ge=0)
    budget_money: float | None = Field(None, ge=0)

    def applied_to(self, settings: JudgeSettings) -> JudgeSettings:
        changes = {name: value for name, value in self.model_dump(exclude={"paused"}).items() if value is not None}
        return settings.model_copy(update=changes)


def read_control(folder: Path) -> Control:
    """What the folder's control file says; the defaults where it is missing or unreadable."""
    try:
        return Control.model_validate(read_json(folder / CONTROL))
    except (OSError, ValueError, ValidationError):
        return Control()


def write_control(folder: Path, **changes: Any) -> Control:
    """Change some settings of the file and leave the others.

    Raises:
        ValidationError: a value is out of its bounds.
    """
    control = Control.model_validate(read_control(folder).model_dump() | changes)
    write_json(folder / CONTROL, control.model_dump(exclude_none=True))
    return control


class ControlFile:
    """Reads the file again only when it has changed: `look` costs one `stat`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self.control = Control()

    def look(self) -> bool:
        """Whether what it says has changed."""
        try:
            stat = (self._folder / CONTROL).stat()
            now: tuple[int, int] | None = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            now = None
        if now == self._seen:
            return False
        self._seen = now
        before, self.control = self.control, read_control(self._folder)
        return before != self.control
