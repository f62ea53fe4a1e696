"""A measure over the responses of a dataset: their distribution, and for pairs how often it decides and whether people
chose as it does.

Left out: storing the numbers. They are made anew for each look, within MEASURE_SECONDS, so that none is out of date.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import BigIntegerField, F, QuerySet
from django.db.models.functions import Cast, Mod
from pydantic import ValidationError

from training.config.measure import Measure
from training.dialogue import Dialogue
from training.errors import TrainingError
from training.judges.measure_judge import preference
from training.measures import MeasureFunction, make_measure
from training.quality.intervals import wilson_interval
from training.run.artifacts import digest_of
from training.run.references import References
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetRow, DatasetText
from webapp.principles.measures import read_measure
from webapp.principles.patience import MeasuresBusy, Outcome, measure_within
from webapp.principles.trying import BUSY, UNKNOWN
from webapp.runs.principle_page.histogram import Histogram, histogram_of

MOST_RESPONSES = 2_000
MEASURE_SECONDS = 2.0
MOST_CHARACTERS = 5_000_000
"""Of the responses that are read at a time."""
_PART = 250  # rows that are read at a time
_MIX, _PRIME = 486_187, 1_000_003  # spread the numbers of rows over 0 ... _PRIME - 1, the same at each look


class _Row(NamedTuple):
    prompt: Dialogue
    responses: list[str]
    is_choice: bool  # a person chose the first of the two
    reference: str


@dataclass
class Pairs:
    """Of the pairs with two numbers: how many the measure decides, and of those that people decided too, how many it
    decides as they do."""

    measured: int = 0
    decided: int = 0
    compared: int = 0
    agreed: int = 0

    def add(self, probability: float, is_choice: bool) -> None:
        self.measured += 1
        if probability == 0.5:
            return
        self.decided += 1
        if is_choice:
            self.compared += 1
            self.agreed += probability > 0.5

    @property
    def decides(self) -> float | None:
        return self.decided / self.measured if self.measured else None

    @property
    def agreement(self) -> float | None:
        return self.agreed / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the agreement, 95%."""
        return wilson_interval(self.agreed, self.compared)


@dataclass(frozen=True)
class MeasuredDataset:
    """What a measure says of a dataset's responses.

    Attributes:
        rows: rows of the sample; fewer were measured where `is_cut`: the time, or the space, did not suffice.
        n, failed: responses with a number, and without.
        std: the standard deviation of the `n` numbers (divided by n, as for a reward's scale).
        problem: why there are no numbers, worded for the person; "" if there are.
    """

    dataset: Dataset
    rows: int = 0
    is_cut: bool = False
    n: int = 0
    failed: int = 0
    why_failed: str = ""
    mean: float = 0.0
    std: float = 0.0
    histogram: Histogram | None = None
    pairs: Pairs | None = None
    problem: str = ""

    @property
    def is_sample(self) -> bool:
        return self.rows < self.dataset.rows_good


def datasets_to_measure(*, team: Team) -> QuerySet[Dataset]:
    """The team's datasets that have responses, newest first."""
    kinds = (Dataset.Kind.DIALOGUES, Dataset.Kind.PAIRS, Dataset.Kind.UNDECIDED)
    return Dataset.objects.of(team).filter(status=Dataset.Status.READY, kind__in=kinds)


def measure_dataset(*, dataset: Dataset, settings: dict[str, Any]) -> MeasuredDataset:
    """Measure a sample of the dataset's responses, at most MOST_RESPONSES, within MEASURE_SECONDS."""
    try:
        measure = read_measure(settings)
        function = make_measure(measure)
    except ValidationError:
        return MeasuredDataset(dataset, problem=UNKNOWN)
    except TrainingError as problem:
        return MeasuredDataset(dataset, problem=str(problem))
    try:
        return _measured(dataset, measure, function)
    except MeasuresBusy:
        return MeasuredDataset(dataset, problem=BUSY)


def _measured(dataset: Dataset, measure: Measure, function: MeasureFunction) -> MeasuredDataset:
    give_up = time.monotonic() + MEASURE_SECONDS
    keys = sampled_rows(dataset, MOST_RESPONSES // 2 if dataset.has_pairs else MOST_RESPONSES)
    rows_done = 0
    outcomes: list[Outcome] = []
    pairs = Pairs() if dataset.has_pairs else None
    for rows in _parts(keys):
        if measure.needs_reference:
            function = make_measure(measure, References(
                {"prompt": digest_of(row.prompt), "reference": row.reference} for row in rows if row.reference))
        asked = [(row.prompt, response) for row in rows for response in row.responses]
        answers = measure_within(function, asked, max(0.01, give_up - time.monotonic()))
        outcomes += answers
        if pairs is not None:
            _add_pairs(pairs, rows, answers, measure)
        rows_done += len(rows) if len(answers) == len(asked) else 0
        if len(answers) < len(asked) or time.monotonic() > give_up:
            break
    numbers = [outcome for outcome in outcomes if isinstance(outcome, float)]
    failures = [outcome for outcome in outcomes if not isinstance(outcome, float)]
    why_failed = str(failures[0]) if failures else ""
    if not numbers:
        slow = f"No response was measured within {MEASURE_SECONDS:.0f} seconds: the measure is slow. A run can use it."
        return MeasuredDataset(dataset, problem=why_failed or (slow if keys else "This dataset has no rows."))
    mean = math.fsum(numbers) / len(numbers)
    std = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    return MeasuredDataset(dataset, rows=len(keys), is_cut=rows_done < len(keys), n=len(numbers), failed=len(failures),
                           why_failed=why_failed, mean=mean, std=std, histogram=histogram_of(numbers), pairs=pairs)


def sampled_rows(dataset: Dataset, most: int) -> list[int]:
    """The keys of at most so many rows, in an order that does not depend on what they hold: any beginning of the list
    is a sample too. One query; the same rows each time."""
    rows = DatasetRow.objects.filter(dataset=dataset).annotate(
        mixed=Mod(Cast(F("number"), BigIntegerField()) * _MIX, _PRIME, output_field=BigIntegerField()))
    if dataset.rows_good > 4 * most:  # sort a part only: enough even where numbers have gaps
        rows = rows.filter(mixed__lt=2 * most * _PRIME // dataset.rows_good)
    return list(rows.order_by("mixed", "number").values_list("pk", flat=True)[:most])


def _parts(keys: Sequence[int]) -> Iterator[list[_Row]]:
    """The rows in parts of one query each. Rows may be megabytes long: a part beyond MOST_CHARACTERS is the last."""
    for start in range(0, len(keys), _PART):
        part_of_keys = keys[start:start + _PART]
        columns = DatasetText.objects.filter(row__in=part_of_keys).values_list("row", "prompt", "chosen", "rejected",
                                                                         "undecided", "reference")
        rows: dict[int, _Row] = {}
        characters = 0
        for key, prompt, chosen, rejected, undecided, reference in columns.iterator(chunk_size=25):
            responses = [response for response in (chosen, rejected) if response]
            characters += sum(map(len, responses))
            rows[key] = _Row(prompt, responses, not undecided, reference)
            if characters > MOST_CHARACTERS:
                break
        yield [rows[key] for key in part_of_keys if key in rows]
        if characters > MOST_CHARACTERS:
            return


def _add_pairs(pairs: Pairs, rows: Sequence[_Row], answers: Sequence[Outcome], measure: Measure) -> None:
    left = iter(answers)
    for row in rows:
        numbers = [next(left, None) for _ in row.responses]
        if len(numbers) == 2 and isinstance(numbers[0], float) and isinstance(numbers[1], float):
            pairs.add(preference(numbers[0], numbers[1], measure.toward, measure.softness), row.is_choice)
