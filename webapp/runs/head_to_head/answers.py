"""The answers of several runs' policies to the same held-out prompts, as their evaluations keep them: none is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.dialogue import Dialogue
from training.errors import BadData, BadSettings
from training.run.artifacts import digest_of, read_jsonl
from webapp.runs.models import Run, RunStage, Stage

FEWEST, MOST = 2, 8
FILE = "answers.jsonl"


@dataclass(frozen=True)
class CommonAnswers:
    """What all runs answered.

    Attributes:
        prompts: those that every run answered, in the order of the first run.
        policies: by run, an answer for each prompt.
        base: the base's answers; None where the runs' bases do not answer alike, so that there is no common one.
        verdicts: by run and prompt, what its evaluation's judge said of its answer against the base's, by question.
        settings: by run, the settings of its evaluation.
        answered: by run, how many prompts it answered.
    """

    prompts: list[Dialogue]
    policies: list[list[str]]
    base: list[str] | None
    verdicts: list[list[dict[str, float | None]]]
    settings: list[dict[str, Any]]
    answered: list[int]

    def first(self, prompts: int) -> CommonAnswers:
        """Of the first prompts alone."""
        return CommonAnswers(self.prompts[:prompts], [answers[:prompts] for answers in self.policies],
                             self.base[:prompts] if self.base is not None else None,
                             [verdicts[:prompts] for verdicts in self.verdicts], self.settings, self.answered)


def common_answers(runs: Sequence[Run]) -> CommonAnswers:
    """One query, and a file per run.

    Raises:
        BadSettings: too few or too many runs.
        BadData: a run has no answers, or there is no prompt that all of them answered.
    """
    if not FEWEST <= len(runs) <= MOST:
        raise BadSettings(f"A head to head takes {FEWEST} to {MOST} runs; these are {len(runs)}.",
                          "Leave some out on the page of the comparison, or choose others in the list of runs.")
    stages = {use.run_id: use.stage for use in RunStage.objects.filter(
        run__in=runs, stage__kind="evaluate", stage__status=Stage.Status.SUCCEEDED).select_related("stage").defer(
            "stage__summary", "stage__details")}
    rows = [_rows(run, stages.get(run.pk)) for run in runs]
    shared = [key for key in rows[0] if all(key in own for own in rows)]
    if not shared:
        counts = ", ".join(f"#{run.pk} {len(own)}" for run, own in zip(runs, rows, strict=True))
        raise BadData(f"There is no held-out prompt that all of these runs answered ({counts} prompts).",
                      "Compare runs on the same data with the same seed, or with 'repeat' in place of another seed.")
    bases = [[own[key]["base"] for key in shared] for own in rows]
    return CommonAnswers(
        [rows[0][key]["prompt"] for key in shared], [[own[key]["policy"] for key in shared] for own in rows],
        bases[0] if all(base == bases[0] for base in bases) else None,
        [[own[key].get("verdicts", {}) for key in shared] for own in rows],
        [stages[run.pk].settings for run in runs], [len(own) for own in rows])


def _rows(run: Run, stage: Stage | None) -> dict[str, dict[str, Any]]:
    """The rows of a run's evaluation, by the digest of the prompt."""
    if stage is None:
        raise BadData(f"Run #{run.pk} has no finished evaluation.", "Wait until it is done, or leave it out.")
    try:
        return {digest_of(row["prompt"]): row for row in read_jsonl(stage.folder / FILE)}
    except (OSError, KeyError, ValueError):
        raise BadData(f"The answers of run #{run.pk} are not there: an earlier Concord kept none, or its files were "
                      "deleted.", "Leave it out, or clone it to evaluate it again.") from None
