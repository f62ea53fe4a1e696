"""Every failure a stage can name. One base, data as attributes, a message that says what to do next."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of all expected failures.

    Attributes:
        cause: what happened, one sentence for the person who started the run.
        remedy: what to do about it, one sentence.
    """

    kind = "error"

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause} {self.remedy}"


class BadSettings(TrainingError):
    """A setting cannot be used as given; refused before any training."""

    kind = "bad settings"


class BadData(TrainingError):
    """The dataset, the pairs or the labels cannot be used."""

    kind = "bad data"


class JudgeUnavailable(TrainingError):
    """The judge could not be reached or refused to answer for good."""

    kind = "judge"


class BudgetSpent(TrainingError):
    """The judge's budget is spent; the labels bought so far are kept."""

    kind = "budget"


class JudgeContradictsItself(TrainingError):
    """Most labels of a judge turn with the order in which the responses are shown; what was bought is kept."""

    kind = "order flips"


class NoBetterThanCoin(TrainingError):
    """The preference models of a run do no better than a coin on pairs that they had not seen."""

    kind = "at chance"


class MeasureFailed(TrainingError):
    """A measure has no number for a response."""

    kind = "measure"


class ModelUnavailable(TrainingError):
    """A base model or tokenizer could not be loaded."""

    kind = "model"


class OutOfMemory(TrainingError):
    """The device or the machine had too little memory."""

    kind = "out of memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine ran out of memory, whichever library says so. Torch is not needed to ask."""
    words = str(error).lower()
    return isinstance(error, OutOfMemory | MemoryError) or type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "not enough memory" in words))


class DiskFull(TrainingError):
    """The disk is full. The last checkpoint is complete."""

    kind = "disk full"


class Diverged(TrainingError):
    """A loss or a gradient is NaN or infinite."""

    kind = "diverged"


class StopRequested(Exception):
    """A person asked the stage to stop. Raised by the reporter at a safe point, when a complete checkpoint exists."""
