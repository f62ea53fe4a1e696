"""Exports of Label Studio: a task's data and its annotations, as JSON, and with a column each as JSON-MIN or CSV.

Responses are the data's fields that `spelling` knows, or the items of a list that is ranked. Cancelled annotations and
predictions of models do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.spelling import prompt_name, response_names
from training.data.formats.values import object_at, objects_at, text_at, value_of
from training.data.formats.votes import points
from training.data.messages import UnusableRow, prompt_of

_TEXTS = ("body", "text", "html", "value")


def _tasks(record: Record) -> Iterator[Made]:
    data = object_at(record, "data")
    annotations = [one for one in objects_at(record, "annotations") if one.get("was_cancelled") is not True]
    results = [result for one in annotations if isinstance(one.get("result"), list) for result in one["result"]]
    values = [result.get("value") for result in results if isinstance(result, Mapping)]
    answers = [answer for value in values if isinstance(value, Mapping) for answer in _answers(value)]
    return _compared(data, answers)


def _answers(value: Mapping[str, Any]) -> Iterator[Any]:
    """What one control of the page was set to: a pairwise choice, a choice among texts, or a ranking."""
    if isinstance(value.get("selected"), str):
        yield value["selected"]
    elif isinstance(choices := value.get("choices"), list) and len(choices) == 1:
        yield choices[0]
    elif isinstance(ranker := value.get("ranker"), Mapping):
        yield from (order for order in ranker.values() if isinstance(order, list))
    elif isinstance(ranker, list):
        yield ranker


def _columns(record: Record) -> Iterator[Made]:
    names = response_names(record)
    others = [value_of(record, name) for name in record if name not in (*names, prompt_name(record), *_OWN)]
    answers = [answer.get("selected") if isinstance(answer, Mapping) else answer for answer in others]
    return _compared(record, [answer for answer in answers if isinstance(answer, str)])


def _compared(data: Mapping[str, Any], answers: Sequence[Any]) -> Iterator[Made]:
    prompt, names = prompt_name(data), response_names(data)
    if prompt is None:
        raise UnusableRow(f"its data ({', '.join(list(data)[:10])[:100]}) holds no prompt")
    texts = [text_at(data, name) for name in names]
    if not names:
        names, texts = _items(data, prompt)
    rated = points(answers, names)
    yield from best_against_others(prompt_of(value_of(data, prompt)),
                                   [Completion(text, rating) for text, rating in zip(texts, rated, strict=True)])


def _items(data: Mapping[str, Any], prompt: str) -> tuple[list[str], list[str]]:
    """The names and texts of a list that is ranked."""
    lists = [name for name in data if name != prompt and isinstance(value_of(data, name), list)]
    if not lists:
        raise UnusableRow(f"its data ({', '.join(list(data)[:10])[:100]}) holds no two responses")
    items = objects_at(data, lists[0])
    texts = [next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), "") for item in items]
    return [str(item.get("id", place)) for place, item in enumerate(items)], texts


# What Label Studio itself writes beside a task's data in JSON-MIN and CSV.
_OWN = ("id", "annotation_id", "annotator", "lead_time", "created_at", "updated_at")

LABEL_STUDIO = Layout("label-studio", "tasks with annotations (Label Studio)", ("data", "annotations"), each(_tasks))
LABEL_STUDIO_MIN = Layout("label-studio-min", "tasks with annotations, a column each (Label Studio)",
                          ("annotation_id", "annotator", "lead_time"), each(_columns),
                          looks=lambda record: len(response_names(record)) > 1 and prompt_name(record) is not None)
