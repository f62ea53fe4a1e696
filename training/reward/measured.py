"""Scores that a program measures: of principles that need no preference model, and of gauges, which are never rewarded.

A response that a measure has no number for counts as the mean of the run's pairs, so that it earns and costs nothing,
and a warning says so once. Rejected: to stop, which would lose a run of hours to one odd response of thousands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from training.dialogue import Dialogue
from training.measures import ReferenceOf, no_reference
from training.measures.scale import SafeMeasure, Scale, sign_of
from training.reward.rewards import Scorer
from training.run.reporting import NullReporter, Reporter


class MeasuredScores:
    """A Scorer whose raw scores are measures in their own units.

    Attributes:
        names: principles, in the order of the columns.
        mean: [principle], frozen.
        std: [principle], frozen; negative where a lower measure is the better, so that a higher z always is.
    """

    def __init__(self, measures: Mapping[str, Mapping[str, Any]], scales: Mapping[str, Scale],
                 reporter: Reporter | None = None, reference_of: ReferenceOf = no_reference) -> None:
        self.names = list(measures)
        self._measures = [_safe(name, settings, reporter, "It counts as the mean of the run's pairs.", reference_of)
                          for name, settings in measures.items()]
        self.mean = torch.tensor([scales[name].mean for name in self.names])
        self.std = torch.tensor([scales[each.name].std * sign_of(each.toward) for each in self._measures])

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Measures [batch, principle]; the mean where a measure fails."""
        raw = torch.empty(len(responses), len(self.names))
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            for column, measure in enumerate(self._measures):
                value = measure(prompt, response)
                raw[row, column] = self.mean[column] if value is None else value
        return raw


class ComposedScores:
    """Several Scorers as one, whose columns are in the order of `names`; on the CPU.

    Args:
        names: every name of the scorers, each once.
    """

    def __init__(self, names: Sequence[str], scorers: Sequence[Scorer]) -> None:
        self.names = list(names)
        self._scorers = scorers
        together = [name for scorer in scorers for name in scorer.names]
        self._order = [together.index(name) for name in self.names]

    @property
    def mean(self) -> Tensor:
        return torch.cat([scorer.mean.float().cpu() for scorer in self._scorers])[self._order]

    @property
    def std(self) -> Tensor:
        return torch.cat([scorer.std.float().cpu() for scorer in self._scorers])[self._order]

    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Raw scores [batch, principle]."""
        tables = [scorer.score_raw(prompts, responses, batch_size).float().cpu() for scorer in self._scorers]
        return torch.cat(tables, dim=1)[:, self._order]


class Gauges:
    """Measures that are charted while a policy is trained, and take no part in its reward.

    Args:
        measures: settings by principle.
    """

    def __init__(self, measures: Mapping[str, Mapping[str, Any]], reporter: Reporter | None = None,
                 reference_of: ReferenceOf = no_reference) -> None:
        self._measures = [_safe(name, settings, reporter, "It is left out of the chart.", reference_of)
                          for name, settings in measures.items()]

    def metrics(self, prompts: Sequence[Dialogue], responses: Sequence[str]) -> dict[str, float]:
        """`gauge/<principle>`: the mean over the responses that have a number; absent where none has."""
        means = {}
        for measure in self._measures:
            values = [value for prompt, response in zip(prompts, responses, strict=True)
                      if (value := measure(prompt, response)) is not None]
            if values:
                means[f"gauge/{measure.name}"] = math.fsum(values) / len(values)
        return means


def _safe(name: str, settings: Mapping[str, Any], reporter: Reporter | None, consequence: str,
          reference_of: ReferenceOf) -> SafeMeasure:
    teller: Reporter = reporter or NullReporter()
    return SafeMeasure(name, settings, lambda sentence: teller.warning("measure_failed", f"{sentence} {consequence}"),
                       reference_of)
