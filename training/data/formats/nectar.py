"""Nectar: a prompt with seven answers that a model has ranked, 1 for the best."""

from __future__ import annotations

from collections.abc import Iterator

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.values import number_at, objects_at, text_at, value_of
from training.data.messages import UnusableRow, prompt_of


def _rows(record: Record) -> Iterator[Made]:
    prompt = prompt_of(text_at(record, "prompt"))
    completions = []
    for place, answer in enumerate(objects_at(record, "answers"), 1):
        rank = number_at(answer, "rank")
        if rank is None:
            raise UnusableRow(f"the 'rank' of answer {place} is {str(answer.get('rank'))[:50]!r}, not a number")
        completions.append(Completion(text_at(answer, "answer"), -rank))
    yield from best_against_others(prompt, completions)


def _looks(record: Record) -> bool:
    answers = value_of(record, "answers")
    first = answers[0] if isinstance(answers, list) and answers else answers
    return isinstance(first, dict) and {"answer", "rank"} <= first.keys()


NECTAR = Layout("nectar", "prompts with ranked answers (Nectar)", ("prompt", "answers"), each(_rows), looks=_looks)
