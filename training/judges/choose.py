"""Which judge the settings ask for. Torch-free: a model on this machine is chosen by `training.models.stage_judge`."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

from training.config import JudgeSettings
from training.errors import BadSettings
from training.judges.addresses import AddressGuard
from training.judges.judge import StreamingJudge
from training.judges.spending import Spending
from training.measures import ReferenceOf, no_reference
from training.run.artifacts import Job

_KEY: ContextVar[str] = ContextVar("judge_key", default="")


def use_key(key: str) -> None:
    """Set the key that `make_judge` uses by default; called by the entry point, which reads the environment."""
    _KEY.set(key)


def resolve_key() -> str:
    """The key set by `use_key`, or ""."""
    return _KEY.get()


def judge_settings(job: Job) -> JudgeSettings:
    """A job's judge: what is part of the label's identity, and the pace and account from the job's runtime."""
    return JudgeSettings.model_validate({**job.settings["judge"], **job.runtime.get("judge", {})})


def make_judge(settings: JudgeSettings, api_key: str | None = None, guard: AddressGuard | None = None,
               spent: Spending | None = None, folder: Path | None = None,
               reference_of: ReferenceOf = no_reference) -> StreamingJudge:
    """The judge that the settings ask for, where it needs no torch.

    Args:
        api_key, guard: None: those of this process.
        spent: what was spent before; None: no budget is kept.
        folder: where a batch judge records its batches; None: the judge is asked live.
        reference_of: the reference answers of prompts, for a measure.

    Raises:
        BadSettings: the judge is a model on this machine.
    """
    if settings.kind == "rule":
        from training.judges.rule_judge import RuleJudge

        return RuleJudge()
    if settings.kind == "measure":
        from training.judges.measure_judge import MeasureJudge

        return MeasureJudge(settings, reference_of)
    if settings.kind == "local":
        raise BadSettings("A local model on the workers' machine is available only to the stages of a run.",
                          "Choose a judge on a server here.")
    key, guard = resolve_key() if api_key is None else api_key, guard or AddressGuard.of_process()
    if settings.mode == "batch" and folder is not None:
        from training.judges.batch_judge import BatchJudge

        return BatchJudge(settings, key, guard, folder, spent)
    from training.judges.openai_judge import OpenAIJudge

    return OpenAIJudge(settings, key, guard, spent)
