"""What a row of a data set means: which columns hold the prompt and the responses, and why a row cannot be used.

Recognised are the whole dialogues of hh-rlhf (arXiv 2204.05862), TRL's `prompt`/`chosen`/`rejected` in both spellings,
LLaMA-Factory's and Alpaca's files, prompts with a response, and prompts alone. Torch-free; reads no file, see
`training.data.records` and `training.data.data_files`.

Left out: images, tool calls, several rejected responses per row, and ratings that are not a choice between two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from training.data.messages import (
    UnusableRow,
    cell_of,
    checked_prompt,
    messages_of,
    optional_cell,
    prompt_of,
    refuse_unstorable,
    reply_of,
    shared_prompt,
    text_of,
    turns_of,
)
from training.data.records.cells import kind_of
from training.dialogue import Dialogue
from training.errors import BadData
from training.text import storable, unstorable_reason

Columns: TypeAlias = Mapping[str, str]
RAW_CHARACTERS = 500  # of a row that cannot be used

_ROLES = ("prompt", "chosen", "rejected", "response", "input", "system", "history")
_PROMPT_COLUMNS = ("prompt", "question", "instruction", "query", "text", "messages", "conversations", "conversation")
_OF_MESSAGES = ("text", "messages", "conversations", "conversation")
_RESPONSE_COLUMNS = ("response", "completion", "answer", "output", "reply")
# Columns that carry a part of the prompt: what an instruction is about, the system message, the turns before.
PROMPT_PARTS = {"input": ("input", "context"), "system": ("system", "system_prompt", "system_message"),
                "history": ("history",)}
NAMES_WITH_A_MEANING = ("chosen", "rejected", *_PROMPT_COLUMNS, *_RESPONSE_COLUMNS,
                        *(name for names in PROMPT_PARTS.values() for name in names))


class Row(NamedTuple):
    """A usable row. `chosen` alone is a response nobody compared; both are set for a preference."""

    prompt: Dialogue
    chosen: str | None = None
    rejected: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its number in the file, counted from 1, why, and how it begins where that is known."""

    number: int
    reason: str
    raw: str = field(default="", compare=False)  # at most RAW_CHARACTERS


@dataclass(frozen=True)
class Format:
    """What the columns mean: `columns` maps "prompt", "chosen", "rejected", "response" to names in the file."""

    kind: Literal["hh-rlhf", "preference", "dialogues", "prompts"]
    columns: Columns

    @property
    def title(self) -> str:
        """The format in words, for the import page."""
        return {
            "hh-rlhf": "whole dialogues, chosen and rejected (hh-rlhf)",
            "preference": "preference pairs (TRL)",
            "dialogues": "prompts with a response",
            "prompts": "prompts alone",
        }[self.kind]


# Recognising ----------------------------------------------------------------------------------------------------------


def recognise(columns: Sequence[str], first_rows: Sequence[Mapping[str, Any]],
              mapping: Columns | None = None) -> Format:
    """Tell what the columns of a file mean.

    Args:
        columns: names of the file's columns.
        first_rows: a few records, to tell text from lists of messages.
        mapping: the person's choice, e.g. {"prompt": "question"}; it overrides the guesses. "" for one of PROMPT_PARTS:
            no column is that part.

    Raises:
        BadData: when neither the mapping nor the names make a known format.
    """
    meaning = _mapped(columns, mapping or {})
    for role in ("chosen", "rejected"):
        if role in columns:
            meaning.setdefault(role, role)
    one_of_two = ("chosen" in meaning) != ("rejected" in meaning)
    if one_of_two and "response" not in meaning:
        meaning["response"] = meaning.pop("chosen" if "chosen" in meaning else "rejected")
    _guess(meaning, "prompt", (*_PROMPT_COLUMNS, *PROMPT_PARTS["input"]), columns)
    if "chosen" in meaning and "rejected" in meaning:
        meaning.pop("response", None)
        values = [row.get(meaning["chosen"]) for row in first_rows]
        lists = any(_holds_messages(value) for value in values)
        kind: Literal["hh-rlhf", "preference"] = "preference" if "prompt" in meaning or lists else "hh-rlhf"
        return Format(kind, _with_parts(meaning, columns, mapping or {}))
    if "prompt" not in meaning:
        raise BadData(f"None of the columns ({_listed(columns)}) is known.",
                      "Say which column holds the prompt, or the chosen and the rejected response.")
    if meaning["prompt"] not in _OF_MESSAGES:
        _guess(meaning, "response", _RESPONSE_COLUMNS, columns)
    return Format("dialogues" if "response" in meaning else "prompts",
                  _with_parts(meaning, columns, mapping or {}))


def _guess(meaning: dict[str, str], role: str, names: Sequence[str], columns: Sequence[str]) -> None:
    """Give a role that has no column the first of these names that the file has and no role uses."""
    name = next((name for name in names if name in columns and name not in meaning.values()), None)
    if name is not None:
        meaning.setdefault(role, name)


def _with_parts(meaning: dict[str, str], columns: Sequence[str], mapping: Columns) -> dict[str, str]:
    """The columns that belong to the prompt as well; to a list of messages nothing is added but a system message.
    A part that the person maps to "" has no column."""
    of_messages = "prompt" not in meaning or meaning["prompt"] in _OF_MESSAGES
    for role, names in PROMPT_PARTS.items():
        if mapping.get(role) != "" and (role == "system" or not of_messages):
            _guess(meaning, role, names, columns)
    return meaning


def _holds_messages(value: Any) -> bool:
    try:
        return isinstance(cell_of({"chosen": value}, "chosen"), list | dict)
    except UnusableRow:
        return False


def columns_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all columns that any of these records has, in order of appearance."""
    return list(dict.fromkeys(str(name) for record in records for name in record))


def unused_columns(columns: Sequence[str], form: Format) -> list[str]:
    """The columns that no part of a row is read from, as they can be shown."""
    used = set(form.columns.values())
    return [storable(name)[:60] for name in columns if name not in used]


def can_be_named(column: str) -> bool:
    """Whether a person can choose the column: its name is short and can be stored."""
    return 0 < len(column) <= 200 and unstorable_reason(column) is None


def _listed(columns: Sequence[str]) -> str:
    """The first columns' names, as a message can hold them."""
    named = ", ".join(storable(str(name))[:60] for name in columns[:20]) or "none"
    return named + (f" and {len(columns) - 20:,} more" if len(columns) > 20 else "")


def _mapped(columns: Sequence[str], mapping: Columns) -> dict[str, str]:
    chosen = {role: name for role, name in mapping.items() if name}
    unknown = sorted(set(chosen) - set(_ROLES))
    if unknown:
        raise BadData(f"A column was given for {', '.join(unknown)}.", f"Only these can be given: {', '.join(_ROLES)}.")
    absent = sorted(set(chosen.values()) - set(columns))
    if absent:
        raise BadData(f"The file has no column {storable(', '.join(absent))[:200]}.", f"It has: {_listed(columns)}.")
    return chosen


def beginning_of(record: Mapping[str, Any]) -> str:
    """The first RAW_CHARACTERS of a record as JSON; no more of it is written, however long it is."""
    cells = {name: cell[:RAW_CHARACTERS] if isinstance(cell, str) else cell for name, cell in record.items()}
    written, length = [], 0
    for part in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(cells):
        written.append(part)
        length += len(part)
        if length >= RAW_CHARACTERS:
            break
    return storable("".join(written))[:RAW_CHARACTERS]


# One record to one row ------------------------------------------------------------------------------------------------


def to_row(record: Mapping[str, Any], form: Format) -> Row:
    """The row that a record means. Raises UnusableRow with the reason."""
    row = _row(record, form.kind, form.columns)
    row = row._replace(prompt=_completed(row.prompt, record, form.columns))
    refuse_unstorable(row.prompt, {"chosen" if row.rejected else "only": row.chosen, "rejected": row.rejected})
    return row


def _row(record: Mapping[str, Any], kind: str, columns: Columns) -> Row:
    """The row without the columns that only add to its prompt."""
    if kind in ("hh-rlhf", "preference"):
        chosen, rejected = cell_of(record, columns["chosen"]), cell_of(record, columns["rejected"])
        if "prompt" in columns:
            row = _pair(prompt_of(cell_of(record, columns["prompt"])), chosen, rejected)
        else:
            row = Row(*shared_prompt(chosen, rejected))
        if row.chosen == row.rejected:
            raise UnusableRow("the chosen and the rejected response are the same")
        return row
    if kind == "dialogues":
        prompt = prompt_of(cell_of(record, columns["prompt"]))
        return Row(*reply_of(cell_of(record, columns["response"]), prompt, "only"))
    messages = messages_of(cell_of(record, columns["prompt"]))
    if messages[-1]["role"] == "assistant" and len(messages) > 1:
        return Row(checked_prompt(messages[:-1]), text_of(messages[-1]["content"], "only"))
    return Row(checked_prompt(messages))


def _pair(prompt: Dialogue, chosen: Any, rejected: Any) -> Row:
    chosen_prompt, better = reply_of(chosen, prompt, "chosen")
    rejected_prompt, worse = reply_of(rejected, prompt, "rejected")
    if chosen_prompt != rejected_prompt and prompt not in (chosen_prompt, rejected_prompt):
        raise UnusableRow("the chosen and the rejected response begin with different system messages")
    return Row(max(chosen_prompt, rejected_prompt, key=len), better, worse)


def _completed(prompt: Dialogue, record: Mapping[str, Any], columns: Columns) -> Dialogue:
    """The prompt with what other columns add to it."""
    added, system, history = (optional_cell(record, columns.get(role)) for role in ("input", "system", "history"))
    for name, value in (("input", added), ("system", system)):
        if value is not None and not isinstance(value, str):
            raise UnusableRow(f"column '{columns[name]}' is {kind_of(value)}, not text")
    messages = list(prompt)
    if added is not None:
        messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n\n{added.strip()}"}
    if history:
        after_system = int(messages[0]["role"] == "system")
        messages[after_system:after_system] = turns_of(history)
    if system is not None and messages[0] != {"role": "system", "content": system.strip()}:
        if messages[0]["role"] == "system":
            raise UnusableRow(f"column '{columns['system']}' holds another system message than the prompt")
        messages.insert(0, {"role": "system", "content": system.strip()})
    return messages
