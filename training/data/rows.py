"""What a row of a dataset means: which columns hold the prompt and the responses, and why a row cannot be used.

Recognised are the whole dialogues of hh-rlhf (arXiv 2204.05862), TRL's `prompt`/`chosen`/`rejected` in both spellings,
LLaMA-Factory's and Alpaca's files, two responses that nobody compared, prompts with a response, prompts alone, and the
layouts of `training.data.formats`. Torch-free; reads no file, see `training.data.records` and `training.data.reading`.

Pairs may also have a column `ratings` (`training.data.ratings`), and every row a reference answer
(`training.data.reference`). Left out: images and tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from training.data.formats import layout_named, layout_of
from training.data.formats.comparison import last_replies, pair_of
from training.data.formats.spelling import response_names
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
from training.data.ratings import COLUMN, is_ratings, ratings_at
from training.data.records.cells import kind_of
from training.data.reference import ROLE, reference_at, reference_column
from training.data.row import Row as Row
from training.dialogue import Dialogue
from training.errors import BadData
from training.text import storable, unstorable_reason

Columns: TypeAlias = Mapping[str, str]
RAW_CHARACTERS = 500  # of a row that cannot be used

_ROLES = ("prompt", "chosen", "rejected", "response_a", "response_b", "response", "reference", "input", "system",
          "history")
_PROMPT_COLUMNS = ("prompt", "question", "instruction", "query", "text", "messages", "conversations", "conversation")
_OF_MESSAGES = ("text", "messages", "conversations", "conversation")
_RESPONSE_COLUMNS = ("response", "completion", "answer", "output", "reply")
# Columns that carry a part of the prompt: what an instruction is about, the system message, the turns before.
PROMPT_PARTS = {"input": ("input", "context"), "system": ("system", "system_prompt", "system_message"),
                "history": ("history",)}
DECIDED, UNDECIDED = ("chosen", "rejected"), ("response_a", "response_b")
NAMES_WITH_A_MEANING = ("chosen", "rejected", *_PROMPT_COLUMNS, *_RESPONSE_COLUMNS,
                        *(name for names in PROMPT_PARTS.values() for name in names))


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its number in the file, counted from 1, why, and how it begins where that is known."""

    number: int
    reason: str
    raw: str = field(default="", compare=False)  # at most RAW_CHARACTERS


@dataclass(frozen=True)
class Format:
    """What the columns mean: `columns` maps "prompt", "chosen", "rejected", "response" to names in the file.

    `kind` is one of TITLES, or that of a layout in `training.data.formats`, which needs no `columns`.
    """

    kind: str
    columns: Columns
    rated: bool = False  # its first rows hold ratings; those of later rows are read all the same

    @property
    def title(self) -> str:
        """The format in words, for the import page."""
        layout = layout_named(self.kind)
        return layout.title if layout else TITLES[self.kind]

    def reads(self, columns: Sequence[str]) -> list[str]:
        """Which of a file's columns rows are made of."""
        layout = layout_named(self.kind)
        if layout is None:
            return [name for name in columns
                    if name in self.columns.values() or (self.rated and name == COLUMN)]
        names = layout.reads(columns)
        return names or list(columns)  # a layout that is known by its values looks at all of them


TITLES = {
    "hh-rlhf": "whole dialogues, chosen and rejected (hh-rlhf)",
    "preference": "preference pairs (TRL)",
    "undecided": "pairs of responses, and nobody chose",
    "dialogues": "prompts with a response",
    "prompts": "prompts alone",
}


# Recognising ----------------------------------------------------------------------------------------------------------


def recognise(columns: Sequence[str], first_rows: Sequence[Mapping[str, Any]],
              mapping: Columns | None = None) -> Format:
    """Tell what the columns of a file mean.

    Args:
        columns: names of the file's columns.
        first_rows: a few records, to tell text from lists of messages.
        mapping: the person's choice, e.g. {"prompt": "question"}; it overrides the guesses. "" for "reference" or one
            of PROMPT_PARTS: no column is that part.

    Raises:
        BadData: when neither the mapping nor the names make a known format.
    """
    mapping = mapping or {}
    meaning = _mapped(columns, mapping)
    layout = None if meaning else layout_of(columns, first_rows)
    if layout is not None:
        return Format(layout.kind, {})
    reference = meaning.pop(ROLE, "")
    form = _texts(meaning, [name for name in columns if name != reference], first_rows, mapping)
    if not reference and mapping.get(ROLE) != "":
        reference = reference_column([name for name in columns if name not in form.columns.values()], first_rows)
    return replace(form, columns={**form.columns, ROLE: reference}) if reference else form


def _texts(meaning: dict[str, str], columns: Sequence[str], first_rows: Sequence[Mapping[str, Any]],
           mapping: Columns) -> Format:
    """What `recognise` tells of the prompt and the responses.

    Args:
        meaning: the columns that the person chose.
    """
    if not meaning or set(UNDECIDED) & set(meaning):
        pair = _pair_meaning(meaning, columns)
        if pair is not None:
            return Format("undecided", _with_parts(pair, columns, mapping), _are_rated(first_rows))
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
        kind = "preference" if "prompt" in meaning or lists else "hh-rlhf"
        return Format(kind, _with_parts(meaning, columns, mapping), _are_rated(first_rows))
    if "prompt" not in meaning:
        raise BadData(f"None of the columns ({_listed(columns)}) is known.",
                      "Say which column holds the prompt, or the chosen and the rejected response.")
    if meaning["prompt"] not in _OF_MESSAGES:
        _guess(meaning, "response", _RESPONSE_COLUMNS, columns)
    return Format("dialogues" if "response" in meaning else "prompts",
                  _with_parts(meaning, columns, mapping))


def _pair_meaning(meaning: Mapping[str, str], columns: Sequence[str]) -> dict[str, str] | None:
    """The columns of two responses that nobody compared, chosen by the person or known by their names."""
    pair = dict(meaning)
    names = response_names(columns)
    for role, name in zip(UNDECIDED, names if len(names) == 2 else (), strict=False):
        pair.setdefault(role, name)
    if not set(UNDECIDED) <= set(pair) or set(DECIDED) <= {*columns, *pair}:
        return None
    _guess(pair, "prompt", (*_PROMPT_COLUMNS, *PROMPT_PARTS["input"]), columns)
    return pair if "prompt" in pair or meaning else None


def _are_rated(first_rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(is_ratings(row.get(COLUMN)) for row in first_rows)


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
    used = set(form.reads(columns))
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
    form = of_record(record, form)
    row = _row(record, form.kind, form.columns)
    row = row._replace(prompt=_completed(row.prompt, record, form.columns),
                       reference=reference_at(record, form.columns.get(ROLE)))
    refuse_unstorable_row(row)
    return row._replace(ratings=ratings_at(record)) if row.rejected else row


def refuse_unstorable_row(row: Row) -> None:
    """Raise UnusableRow for a row with a character that no database or file holds."""
    first, second = ("first", "second") if row.undecided else ("chosen" if row.rejected else "only", "rejected")
    refuse_unstorable(row.prompt, {first: row.chosen, second: row.rejected})


def of_record(record: Mapping[str, Any], form: Format) -> Format:
    """The format of one record: a file may hold pairs with a choice and pairs without, as Concord's downloads do."""
    kinds = {"preference": ("undecided", DECIDED, UNDECIDED), "undecided": ("preference", UNDECIDED, DECIDED)}
    if form.kind not in kinds:
        return form
    other, roles, other_roles = kinds[form.kind]
    if any(record.get(form.columns[role]) is not None for role in roles) or any(
            record.get(role) is None for role in other_roles):
        return form
    parts = {role: name for role, name in form.columns.items() if role not in roles}
    return Format(other, parts | {role: role for role in other_roles})


def _row(record: Mapping[str, Any], kind: str, columns: Columns) -> Row:
    """The row without the columns that only add to its prompt."""
    if kind == "undecided":
        return _undecided(record, columns)
    if kind in ("hh-rlhf", "preference"):
        chosen, rejected = cell_of(record, columns["chosen"]), cell_of(record, columns["rejected"])
        if "prompt" in columns:
            row = Row(*_pair(prompt_of(cell_of(record, columns["prompt"])), chosen, rejected, DECIDED))
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


def _undecided(record: Mapping[str, Any], columns: Columns) -> Row:
    first, second = (cell_of(record, columns[role]) for role in UNDECIDED)
    if "prompt" not in columns:
        return pair_of(*last_replies(first, second), None)
    return pair_of(*_pair(prompt_of(cell_of(record, columns["prompt"])), first, second, ("first", "second")), None)


def _pair(prompt: Dialogue, first: Any, second: Any, names: tuple[str, str]) -> tuple[Dialogue, str, str]:
    first_prompt, a = reply_of(first, prompt, names[0])
    second_prompt, b = reply_of(second, prompt, names[1])
    if first_prompt != second_prompt and prompt not in (first_prompt, second_prompt):
        raise UnusableRow(f"the {names[0]} and the {names[1]} response begin with different system messages")
    return max(first_prompt, second_prompt, key=len), a, b


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
