"""What a run's evaluation kept: its held-out prompts, and what its policy and its base answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.dialogue import Dialogue
from training.errors import BadData
from training.run.artifacts import digest_of, read_jsonl
from webapp.runs.head_to_head.answers import FILE, CommonAnswers
from webapp.runs.models import Run, RunStage, Stage


@dataclass(frozen=True)
class HeldOut:
    """An evaluation's answers, in the order in which it gave them.

    Attributes:
        verdicts: by prompt, what its judge said of the policy's answer against the base's, by question.
    """

    stage: Stage
    prompts: list[Dialogue]
    policy: list[str]
    base: list[str]
    verdicts: list[dict[str, float | None]]

    def against_base(self, answers: list[str]) -> CommonAnswers:
        """Other answers to the first prompts, of a policy that no evaluation knows."""
        size = len(answers)
        return CommonAnswers(self.prompts[:size], [answers], self.base[:size], [[{} for _ in answers]], [{}], [size])

    def own(self, size: int) -> CommonAnswers:
        """The policy's own answers to the first prompts, with the verdicts on them."""
        return CommonAnswers(self.prompts[:size], [self.policy[:size]], self.base[:size], [self.verdicts[:size]],
                             [self.stage.settings], [size])

    def answers_like(self, other: HeldOut, size: int) -> HeldOut | None:
        """This evaluation in the order of another one's first prompts; None where it lacks one, or where its base
        answered otherwise: it sampled otherwise, so that its answers are not to be compared."""
        place = {digest_of(prompt): number for number, prompt in enumerate(self.prompts)}
        order = [place.get(digest_of(prompt)) for prompt in other.prompts[:size]]
        known = [number for number in order if number is not None]
        if len(known) < size or [self.base[number] for number in known] != other.base[:size]:
            return None
        return HeldOut(self.stage, other.prompts[:size], [self.policy[number] for number in known],
                       other.base[:size], [self.verdicts[number] for number in known])


def held_out_of(run: Run) -> HeldOut:
    """One query and a file.

    Raises:
        BadData: the run has no finished evaluation, or its answers are gone.
    """
    use = RunStage.objects.filter(run=run, stage__kind="evaluate", stage__status=Stage.Status.SUCCEEDED
                                  ).select_related("stage").defer("stage__summary", "stage__details").first()
    if use is None:
        raise BadData(f"Run #{run.pk} has no finished evaluation.", "Wait until it is done.")
    return of_stage(use.stage, f"run #{run.pk}")


def of_stage(stage: Stage, named: str) -> HeldOut:
    """Raises BadData where the file is gone."""
    try:
        rows: list[dict[str, Any]] = list(read_jsonl(stage.folder / FILE))
        return HeldOut(stage, [row["prompt"] for row in rows], [row["policy"] for row in rows],
                       [row["base"] for row in rows], [row.get("verdicts", {}) for row in rows])
    except (OSError, KeyError, ValueError):
        raise BadData(f"The answers of {named} are not there: an earlier Concord kept none, or its files were deleted.",
                      "Clone the run to evaluate it again.") from None
