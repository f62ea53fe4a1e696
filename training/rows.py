"""What a row of a data set means: which columns hold the prompt and the responses, and why a row cannot be used.

Recognised are the whole dialogues of hh-rlhf (arXiv 2204.05862), TRL's `prompt`/`chosen`/`rejected` in both spellings,
prompts with a response, and prompts alone. Torch-free; reads no file, see `training.records` and `training.data`.

Left out: images, tool calls, several rejected responses a row, and ratings that are not a choice between two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from training.dialogue import Dialogue, Role, parse_hh
from training.errors import BadData

Columns: TypeAlias = Mapping[str, str]

_ROLES = ("prompt", "chosen", "rejected", "response")
_PROMPT_COLUMNS = ("prompt", "question", "instruction", "text", "messages", "conversations")
_RESPONSE_COLUMNS = ("response", "completion", "answer", "output", "reply")
_SPEAKERS: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system",
}


class Row(NamedTuple):
    """A usable row. `chosen` alone is a response nobody compared; both are set for a preference."""

    prompt: Dialogue
    chosen: str | None = None
    rejected: str | None = None


class BadRow(NamedTuple):
    """A row that cannot be used: its number in the file, counted from 1, and why."""

    number: int
    reason: str


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


class UnusableRow(Exception):
    """Why one row cannot be used; becomes a BadRow."""


# Recognising ----------------------------------------------------------------------------------------------------------


def recognise(columns: Sequence[str], first_rows: Sequence[Mapping[str, Any]],
              mapping: Columns | None = None) -> Format:
    """Tell what the columns of a file mean.

    Args:
        columns: names of the file's columns.
        first_rows: a few records, to tell text from lists of messages.
        mapping: the person's word on it, e.g. {"prompt": "question"}; it wins over what would be guessed.

    Raises:
        BadData: when neither the mapping nor the names make a known format.
    """
    found = _mapped(columns, mapping or {})
    for role in ("chosen", "rejected"):
        if role in columns:
            found.setdefault(role, role)
    one_of_two = ("chosen" in found) != ("rejected" in found)
    if one_of_two and "response" not in found:
        found["response"] = found.pop("chosen" if "chosen" in found else "rejected")
    prompt = next((name for name in _PROMPT_COLUMNS if name in columns and name not in found.values()), None)
    if "prompt" not in found and prompt:
        found["prompt"] = prompt
    if "chosen" in found and "rejected" in found:
        found.pop("response", None)
        if "prompt" in found:
            return Format("preference", found)
        values = [row.get(found["chosen"]) for row in first_rows]
        lists = any(isinstance(value, list) or _is_json_list(value) for value in values)
        return Format("preference" if lists else "hh-rlhf", found)
    if "prompt" not in found:
        raise BadData(
            f"None of the columns ({', '.join(map(str, columns)) or 'none'}) is known.",
            "Say which column holds the prompt, or the chosen and the rejected response.")
    response = next((name for name in _RESPONSE_COLUMNS if name in columns and name not in found.values()), None)
    if "response" not in found and response and found["prompt"] not in ("text", "messages", "conversations"):
        found["response"] = response
    return Format("dialogues" if "response" in found else "prompts", found)


def _mapped(columns: Sequence[str], mapping: Columns) -> dict[str, str]:
    chosen = {role: name for role, name in mapping.items() if name}
    unknown = sorted(set(chosen) - set(_ROLES))
    if unknown:
        raise BadData(f"A column was given for {', '.join(unknown)}.", f"Only these can be given: {', '.join(_ROLES)}.")
    absent = sorted(set(chosen.values()) - set(columns))
    if absent:
        raise BadData(f"The file has no column {', '.join(absent)}.", f"It has: {', '.join(map(str, columns))}.")
    return chosen


# One record to one row ------------------------------------------------------------------------------------------------


def to_row(record: Mapping[str, Any], form: Format) -> Row:
    """The row that a record means. Raises UnusableRow with the reason."""
    columns = form.columns
    if form.kind in ("hh-rlhf", "preference"):
        if "prompt" in columns:
            prompt = _prompt(_cell(record, columns["prompt"]))
            chosen = _reply(_cell(record, columns["chosen"]), prompt, "chosen")
            rejected = _reply(_cell(record, columns["rejected"]), prompt, "rejected")
        else:
            prompt, chosen, rejected = _shared(_cell(record, columns["chosen"]), _cell(record, columns["rejected"]))
        if chosen == rejected:
            raise UnusableRow("the chosen and the rejected response are the same")
        return Row(prompt, chosen, rejected)
    if form.kind == "dialogues":
        prompt = _prompt(_cell(record, columns["prompt"]))
        return Row(prompt, _reply(_cell(record, columns["response"]), prompt, "response"))
    messages = _messages(_cell(record, columns["prompt"]))
    if messages[-1]["role"] == "assistant" and len(messages) > 1:
        return Row(_checked(messages[:-1]), _text(messages[-1]["content"], "response"))
    return Row(_checked(messages))


def _cell(record: Mapping[str, Any], column: str) -> Any:
    value = record.get(column)
    if value is None:
        raise UnusableRow(f"no value in column '{column}'")
    return json.loads(value) if _is_json_list(value) else value


def _is_json_list(value: Any) -> bool:
    """Whether a cell of a CSV file holds a list of messages as JSON."""
    if not (isinstance(value, str) and value.lstrip().startswith("[{")):
        return False
    try:
        return isinstance(json.loads(value), list)
    except ValueError:
        return False


def _messages(value: Any) -> Dialogue:
    """Messages from text (plain or with hh-rlhf's markers) or from a list of messages."""
    if isinstance(value, str):
        if not value.strip():
            raise UnusableRow("the prompt is empty")
        messages = parse_hh("\n\n" + value.lstrip() if value.lstrip().startswith("Human:") else value)
    elif isinstance(value, list):
        messages = [_message(item) for item in value]
    else:
        raise UnusableRow(f"expected text or messages, found {kind_of(value)}")
    while messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"]:
        messages.pop()  # the bare "Assistant:" that prompts in hh-rlhf's spelling end with
    if not messages:
        raise UnusableRow("the prompt is empty")
    return messages


def _message(item: Any) -> Any:
    if not isinstance(item, Mapping):
        raise UnusableRow(f"a message is {kind_of(item)}, not an object with 'role' and 'content'")
    speaker, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(speaker, str) or speaker not in _SPEAKERS:
        raise UnusableRow(f"a message has the role {speaker!r}; known are user, assistant, system")
    if not isinstance(content, str):
        raise UnusableRow(f"the content of a message is {kind_of(content)}, not text")
    return {"role": _SPEAKERS[speaker], "content": content.strip()}


def _checked(messages: Dialogue) -> Dialogue:
    if messages[-1]["role"] != "user":
        raise UnusableRow(f"the prompt ends with the words of the {messages[-1]['role']}, not of the person")
    if not messages[-1]["content"]:
        raise UnusableRow("the prompt is empty")
    return messages


def _prompt(value: Any) -> Dialogue:
    return _checked(_messages(value))


def _reply(value: Any, prompt: Dialogue, name: str) -> str:
    """A response given as text, as its own message, or as the whole dialogue that starts with the prompt."""
    if isinstance(value, str):
        return _text(value, name)
    if not isinstance(value, list):
        raise UnusableRow(f"the {name} response is {kind_of(value)}, not text")
    messages = [_message(item) for item in value]
    if messages[: len(prompt)] == prompt:
        messages = messages[len(prompt):]
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise UnusableRow(f"the {name} response is not one message of the assistant that follows the prompt")
    return _text(messages[0]["content"], name)


def _text(value: str, name: str) -> str:
    if not value.strip():
        raise UnusableRow(f"the {name} response is empty")
    return value.strip()


def _shared(chosen: Any, rejected: Any) -> tuple[Dialogue, str, str]:
    """Prompt and last replies of two dialogues that differ in the last reply only."""
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise UnusableRow("one of chosen and rejected is text and the other is not")
    one, other = _whole(chosen, "chosen"), _whole(rejected, "rejected")
    if one[:-1] != other[:-1]:
        raise UnusableRow("the chosen and the rejected dialogue share no prompt: they differ before the last reply")
    return _checked(one[:-1]), _text(one[-1]["content"], "chosen"), _text(other[-1]["content"], "rejected")


def _whole(value: Any, name: str) -> Dialogue:
    if isinstance(value, str) and not value.strip():
        raise UnusableRow(f"the {name} dialogue is empty")
    if isinstance(value, str):
        messages = parse_hh("\n\n" + value.lstrip() if value.lstrip().startswith("Human:") else value)
    elif isinstance(value, list):
        messages = [_message(item) for item in value]
    else:
        raise UnusableRow(f"the {name} dialogue is {kind_of(value)}, not text or messages")
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise UnusableRow(f"the {name} dialogue does not end with a reply of the assistant to a prompt")
    return messages


def kind_of(value: Any) -> str:
    if value is None:
        return "missing"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
