"""Several responses to a prompt: with a column that says which is best, or none, in any spelling.

A choice is believed only where it names a response ("b", "response_b", "right") or a tie. A bare 0 or 1 beside
responses that are not numbered so may mean either one: such a column is not read, and the pairs are undecided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.data.formats.comparison import Completion, best_against_others
from training.data.formats.layout import Layout, Made, Record, each
from training.data.formats.spelling import prompt_name, response_names
from training.data.formats.values import text_at, value_of
from training.data.formats.votes import is_tie, named, points
from training.data.messages import UnusableRow, prompt_of
from training.data.records.cells import kind_of

CHOICES = ("winner", "preference", "preferred", "preferred_response", "choice", "chosen", "better", "better_response",
           "best", "best_response", "human_preference", "selected", "vote", "label")
_LISTS = ("responses", "completions", "candidates", "generations", "outputs", "answers")


def _choice_of(record: Record) -> str | None:
    """The column with a choice that can be understood."""
    names = response_names(record)
    return next((name for name in CHOICES if _is_choice(record.get(name), names)), None)


def _is_choice(value: Any, names: list[str]) -> bool:
    if str(value).strip() in ("0", "1", "0.0", "1.0") and [name[-1:] for name in names] != ["0", "1"]:
        return False
    return is_tie(value) or named(value, names) is not None


def _chosen(record: Record) -> Iterator[Made]:
    names = response_names(record)
    choice = _choice_of(record)
    if choice is None:
        stated = next((f"'{name}' is {str(record[name])[:50]!r}" for name in CHOICES if record.get(name)), "")
        raise UnusableRow((stated or "it has no choice") + ": give the name of a response, or 'tie'")
    return _several(record, names, points([record[choice]], names))


def _several(record: Record, names: list[str], rated: list[float | None]) -> Iterator[Made]:
    prompt = prompt_name(record)
    if prompt is None or len(names) < 2:
        raise UnusableRow("it has no prompt with two responses")
    yield from best_against_others(prompt_of(value_of(record, prompt)), [
        Completion(text_at(record, name), rating) for name, rating in zip(names, rated, strict=True)])


def _unlabelled(record: Record) -> Iterator[Made]:
    names = response_names(record)
    return _several(record, names, [None] * len(names))


def _listed(record: Record) -> Iterator[Made]:
    prompt = prompt_name(record)
    texts = value_of(record, next(name for name in _LISTS if record.get(name) is not None))
    if prompt is None or not isinstance(texts, list):
        raise UnusableRow("it has no prompt with a list of responses")
    for text in texts:
        if not isinstance(text, str):
            raise UnusableRow(f"a response is {kind_of(text)}, not text")
    yield from best_against_others(prompt_of(value_of(record, prompt)), [Completion(text, None) for text in texts])


def _looks_chosen(record: Record) -> bool:
    return prompt_name(record) is not None and record.get("rejected") is None and _choice_of(record) is not None


def _looks_several(record: Record) -> bool:
    compared = record.get("chosen") is not None and record.get("rejected") is not None
    return prompt_name(record) is not None and not compared and len(response_names(record)) > 2


def _looks_listed(record: Record) -> bool:
    texts = next((value_of(record, name) for name in _LISTS if record.get(name) is not None), None)
    several = isinstance(texts, list) and len(texts) > 1 and isinstance(texts[0], str)
    return several and prompt_name(record) is not None and record.get("rejected") is None


CHOSEN = Layout("chosen", "responses and which one was preferred", (), each(_chosen), looks=_looks_chosen)
SEVERAL = Layout("several", "several responses, and nobody chose", (), each(_unlabelled), looks=_looks_several)
LISTED = Layout("listed", "prompts with a list of responses, and nobody chose", (), each(_listed), looks=_looks_listed)
