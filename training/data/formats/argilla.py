"""Exports of Argilla: fields of a record and what people answered, nested or with a column each.

Responses are the fields that `spelling` knows. Only submitted answers of people count; a suggestion is a model's, so a
record with nothing else is undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.spelling import prompt_name, response_names
from training.data.formats.values import object_at, text_at, value_of
from training.data.formats.votes import points
from training.data.messages import UnusableRow, prompt_of

_ANSWERS = ".responses"  # ends the column of a question's answers in a flat export
_COUNTED = ("submitted", None)


def _nested(record: Record) -> Iterator[Made]:
    answers = value_of(record, "responses")
    return _compared(object_at(record, "fields"), _answers(answers) if answers else [])


def _answers(answers: Any) -> list[Any]:
    """Values by question, of Argilla 2: {question: [answer]}, and of 1: [{"values": {question: answer}}]."""
    if isinstance(answers, Mapping):
        by_question = [item for listed in answers.values() if isinstance(listed, list) for item in listed]
        return [item.get("value") for item in by_question if _is_counted(item)]
    people = [item for item in answers if _is_counted(item)] if isinstance(answers, list) else []
    return [answer.get("value") for person in people if isinstance(values := person.get("values"), Mapping)
            for answer in values.values() if isinstance(answer, Mapping)]


def _is_counted(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("status") in _COUNTED


def _flat(record: Record) -> Iterator[Made]:
    answers: list[Any] = []
    for name in record:
        if _is_answered(record, name):
            listed = value_of(record, name)
            answers += [item["value"] for item in listed if _is_counted(item)]
        if not name.endswith(_ANSWERS):
            continue
        values, status = value_of(record, name), value_of(record, f"{name}.status")
        values = values if isinstance(values, list) else [values] if values is not None else []
        known = status if isinstance(status, list) else [None] * len(values)
        answers += [value for value, state in zip(values, known, strict=False) if state in _COUNTED]
    return _compared(record, answers)


def _compared(fields: Mapping[str, Any], answers: list[Any]) -> Iterator[Made]:
    names, prompt = response_names(fields), prompt_name(fields)
    if prompt is None or len(names) < 2:
        raise UnusableRow(f"its fields ({', '.join(list(fields)[:10])[:100]}) hold no prompt with two responses")
    texts = [text_at(fields, name) for name in names]
    rated = points(answers, names)
    yield from best_against_others(prompt_of(value_of(fields, prompt)),
                                   [Completion(text, rating) for text, rating in zip(texts, rated, strict=True)])


def _is_nested(record: Record) -> bool:
    fields = value_of(record, "fields")
    return isinstance(fields, dict) and len(response_names(fields)) > 1


def _is_answered(record: Record, name: str) -> bool:
    """Whether a column holds answers as Argilla 1 pushed them to the hub: a list with a person each."""
    listed = value_of(record, name)
    return isinstance(listed, list) and bool(listed) and all(
        isinstance(item, Mapping) and {"user_id", "value", "status"} <= item.keys() for item in listed)


def _is_flat(record: Record) -> bool:
    has_answers = any(name.endswith(_ANSWERS) or _is_answered(record, name) for name in record)
    return has_answers and len(response_names(record)) > 1 and prompt_name(record) is not None


ARGILLA = Layout("argilla", "records with people’s answers (Argilla)", ("fields", "responses"), each(_nested),
                 looks=_is_nested)
ARGILLA_FLAT = Layout("argilla-flat", "records with people’s answers, a column each (Argilla)", (), each(_flat),
                      looks=_is_flat)
