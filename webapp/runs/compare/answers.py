"""The same prompts' answers side by side: what each run's policy said at the last step that it reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Max, Q

from webapp.runs.compare.compared_runs import ComparedRun
from webapp.runs.models import Sample

MOST_PROMPTS = 8


@dataclass(frozen=True)
class AnsweredPrompt:
    """A prompt that at least two runs answered, with each run's answer; None where it has none."""

    prompt: str
    answers: list[tuple[ComparedRun, Sample | None]]


@dataclass(frozen=True)
class Answers:
    """`prompts` are the first of `total` that at least two runs answered."""

    prompts: list[AnsweredPrompt]
    total: int


def answers_of(runs: Sequence[ComparedRun]) -> Answers:
    """Matched by the text of the prompt, in the order of the first run that has it; two queries."""
    of_stage = _last_samples([compared.ppo.pk for compared in runs if compared.ppo is not None])
    by_run = [of_stage.get(compared.ppo.pk, {}) if compared.ppo is not None else {} for compared in runs]
    prompts = list(dict.fromkeys(prompt for samples in by_run for prompt in samples))
    common = [prompt for prompt in prompts if sum(prompt in samples for samples in by_run) > 1]
    return Answers([AnsweredPrompt(prompt, [(compared, samples.get(prompt)) for compared, samples in
                                            zip(runs, by_run, strict=True)]) for prompt in common[:MOST_PROMPTS]],
                   len(common))


def _last_samples(stages: Sequence[int]) -> dict[int, dict[str, Sample]]:
    """By stage and prompt: its samples at its own last step. A prompt that a stage has twice counts once."""
    last = Sample.objects.filter(stage__in=stages).order_by().values_list("stage").annotate(Max("step"))
    of_last_steps = Q(pk=None)
    for stage, step in last:
        of_last_steps |= Q(stage=stage, step=step)
    samples: dict[int, dict[str, Sample]] = {}
    for sample in Sample.objects.filter(of_last_steps).order_by("index"):
        samples.setdefault(sample.stage_id, {}).setdefault(sample.prompt, sample)
    return samples
