"""UltraFeedback (arXiv 2310.01377): several completions of an instruction, each rated on four aspects by a model.

The mean of the aspects counts: `overall_score` has known errors (a 1 that was written as 10). What no aspect rates is
unrated. Each aspect is kept as a rating.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import objects_at, text_at, value_of
from training.data.messages import UnusableRow, prompt_of
from training.data.ratings import rating_at

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def _rows(record: Record) -> Iterator[Made]:
    prompt = prompt_of(text_at(record, "instruction"))
    completions = []
    for place, item in enumerate(objects_at(record, "completions"), 1):
        try:
            aspects = _aspects(item)
            mean = sum(aspects.values()) / len(aspects) if aspects else None
            completions.append(Completion(text_at(item, "response"), mean, aspects))
        except UnusableRow as problem:
            raise UnusableRow(f"completion {place}: {problem}") from problem
    yield from best_against_others(prompt, completions)


def _aspects(completion: Mapping[str, Any]) -> dict[str, float]:
    annotations = value_of(completion, "annotations")
    if not isinstance(annotations, Mapping):
        return {}
    ratings = {}
    for aspect in ASPECTS:
        rated = annotations.get(aspect)
        rated = rated[0] if isinstance(rated, list) and rated else rated
        try:
            rating = rating_at(rated, "Rating") if isinstance(rated, Mapping) else None
        except UnusableRow as problem:
            raise UnusableRow(f"on {aspect}, {problem}") from problem
        if rating is not None:
            ratings[aspect] = rating
    return ratings


ULTRAFEEDBACK = Layout("ultrafeedback", "completions rated on four aspects (UltraFeedback)",
                       ("instruction", "completions"), each(_rows))
