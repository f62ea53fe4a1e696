"""Which judge a stage asks: one of `training.judges`, or a model on this machine. Imports torch for the last only."""

from __future__ import annotations

from pathlib import Path

from training.config import JudgeSettings
from training.judges.choose import make_judge
from training.judges.judge import StreamingJudge
from training.judges.spending import Spending
from training.measures import ReferenceOf, no_reference


def make_stage_judge(settings: JudgeSettings, spent: Spending | None = None,
                     folder: Path | None = None, reference_of: ReferenceOf = no_reference) -> StreamingJudge:
    """`make_judge` with this process's key and addresses, and with models on this machine."""
    if settings.kind == "local":
        from training.models.local_judge import LocalJudge

        return LocalJudge(settings)
    return make_judge(settings, spent=spent, folder=folder, reference_of=reference_of)
