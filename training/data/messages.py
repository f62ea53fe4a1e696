"""Messages, replies and texts from the cells of a row, in every known spelling. Torch-free.

Known are plain text, hh-rlhf's "Human: / Assistant:", lists of messages with `role`/`content` or `from`/`value` (as
values, as JSON or as Python writes them), one message by itself, and content in parts of text.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from training.data.records.cells import MAX_DEPTH, Unreadable, is_too_deep, kind_of, parse_json
from training.dialogue import Dialogue, Message, Role, parse_hh
from training.text import unstorable_reason

SPEAKERS: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "bot": "assistant", "system": "system", "developer": "system",
}


class UnusableRow(Exception):
    """Why one row cannot be used; becomes a BadRow."""


def cell_of(record: Mapping[str, Any], column: str) -> Any:
    """The value of a column that a row must have; lists of messages written as text are read.

    Raises:
        UnusableRow: there is no value, or it cannot be read.
    """
    value = record.get(column)
    if value is None:
        raise UnusableRow(f"no value in column '{column}'")
    if isinstance(value, Unreadable):
        raise UnusableRow(f"column '{column}' {value.reason}")
    if isinstance(value, str):
        return _written_out(value, column)
    return value


def optional_cell(record: Mapping[str, Any], column: str | None) -> Any:
    """The value of a column that a row may lack; None where it is missing or blank."""
    value = record.get(column) if column else None
    if column is None or value is None or (isinstance(value, str) and not value.strip()):
        return None
    return cell_of(record, column)


def _written_out(text: str, column: str) -> Any:
    """The list of messages, or the one message, that a text spells; else the text itself."""
    start = text.lstrip()[:1]
    if start not in ("[", "{"):
        return text
    if is_too_deep(text):
        raise UnusableRow(f"column '{column}' holds lists and objects more than {MAX_DEPTH} deep in each other")
    try:
        value = parse_json(text)
    except ValueError:
        value = _python_value(text)
    return value if _is_messages(value) else text


def _python_value(text: str) -> Any:
    """What `str()` of a list of messages in Python means, or None."""
    if not any(f"'{key}'" in text for key in ("role", "from")):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_messages(value: Any) -> bool:
    """Whether a value looks like messages, rather than like a text that happens to be JSON."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, dict) and ({"role", "from"} & item.keys()) for item in items)


def messages_of(value: Any) -> Dialogue:
    """Messages from text (plain or with hh-rlhf's markers), from a list of messages, or from one message."""
    if isinstance(value, str):
        messages = parse_hh("\n\n" + value.lstrip() if value.lstrip().startswith("Human:") else value)
    elif isinstance(value, list | Mapping):
        messages = [message_of(item) for item in (value if isinstance(value, list) else [value])]
    else:
        raise UnusableRow(f"expected text or messages, found {kind_of(value)}")
    while messages and messages[-1]["role"] == "assistant" and not messages[-1]["content"]:
        messages.pop()  # the bare "Assistant:" that prompts in hh-rlhf's spelling end with
    if not messages:
        raise UnusableRow("the prompt is empty")
    return messages


def message_of(item: Any) -> Message:
    """One message. Raises UnusableRow for a role or a content that is not known."""
    if not isinstance(item, Mapping):
        raise UnusableRow(f"a message is {kind_of(item)}, not an object with 'role' and 'content'")
    speaker, content = item.get("role", item.get("from")), item.get("content", item.get("value"))
    role = SPEAKERS.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        raise UnusableRow(f"a message has the role {str(speaker)[:50]!r}; known are user, assistant, system, developer")
    if item.get("tool_calls") or item.get("function_call"):
        raise UnusableRow("a message calls a tool; only text can be used")
    return {"role": role, "content": _content(content).strip()}


def _content(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise UnusableRow(f"the content of a message is {kind_of(content)}, not text")
    return content


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else kind_of(part)
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
        raise UnusableRow(f"a message has a part of the type {str(kind)[:50]!r}; only text can be used")
    return text


def prompt_of(value: Any) -> Dialogue:
    """Messages that end with the words of the person."""
    return checked_prompt(messages_of(value))


def checked_prompt(messages: Dialogue) -> Dialogue:
    if not messages or messages[-1]["role"] != "user":
        last = messages[-1]["role"] if messages else "nobody"
        raise UnusableRow(f"the prompt ends with the words of the {last}, not of the person")
    if not messages[-1]["content"]:
        raise UnusableRow("the prompt is empty")
    return messages


def reply_of(value: Any, prompt: Dialogue, name: str) -> tuple[Dialogue, str]:
    """A response given as text, as its own message, or as the whole dialogue that starts with the prompt.

    Returns:
        The prompt, with the system message that only the response's dialogue has, and the response.
    """
    if isinstance(value, str):
        return prompt, text_of(value, name)
    if not isinstance(value, list | Mapping):
        raise UnusableRow(f"the {name} response is {kind_of(value)}, not text")
    messages = [message_of(item) for item in (value if isinstance(value, list) else [value])]
    before, last = messages[:-1], messages[-1:]
    if not last or last[0]["role"] != "assistant":
        raise UnusableRow(f"the {name} response does not end with a message of the assistant")
    system = [message for message in prompt[:1] if message["role"] == "system"]
    if before[:1] and before[0]["role"] == "system":
        if system and before[0] != system[0]:
            raise UnusableRow(f"the {name} response begins with another system message than the prompt")
        system, before = before[:1], before[1:]
    turns = prompt[1:] if prompt[0]["role"] == "system" else prompt
    if before and before != turns:
        raise UnusableRow(f"the {name} response is not one message of the assistant that follows the prompt")
    return system + turns, text_of(last[0]["content"], name)


def text_of(value: str, name: str) -> str:
    if not value.strip():
        raise UnusableRow(f"the {name} response is empty")
    return value.strip()


def dialogue_of(value: Any, name: str) -> Dialogue:
    """A whole dialogue that ends with a reply."""
    if isinstance(value, str) and not value.strip():
        raise UnusableRow(f"the {name} dialogue is empty")
    if not isinstance(value, str | list):
        raise UnusableRow(f"the {name} dialogue is {kind_of(value)}, not text or messages")
    messages = messages_of(value)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise UnusableRow(f"the {name} dialogue does not end with a reply of the assistant to a prompt")
    return messages


def shared_prompt(chosen: Any, rejected: Any) -> tuple[Dialogue, str, str]:
    """Prompt and last replies of two dialogues that differ in the last reply only."""
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise UnusableRow("one of chosen and rejected is text and the other is not")
    better, worse = dialogue_of(chosen, "chosen"), dialogue_of(rejected, "rejected")
    if better[:-1] != worse[:-1]:
        raise UnusableRow("the chosen and the rejected dialogue share no prompt: they differ before the last reply")
    return (checked_prompt(better[:-1]), text_of(better[-1]["content"], "chosen"),
            text_of(worse[-1]["content"], "rejected"))


def turns_of(history: Any) -> Dialogue:
    """Earlier turns, as pairs of a question and its answer or as messages."""
    if isinstance(history, str) and history.lstrip().startswith("[["):
        history = _pairs(history)
    if isinstance(history, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        if not all(isinstance(side, str) for turn in history for side in turn):
            raise UnusableRow("the history holds a turn that is not two texts")
        roles: tuple[Role, Role] = ("user", "assistant")
        return [{"role": role, "content": text.strip()}
                for turn in history for role, text in zip(roles, turn, strict=True)]
    return messages_of(history)


def _pairs(text: str) -> Any:
    """Pairs of turns that a text spells as JSON; its depth was looked at when the cell was read."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise UnusableRow(f"the history is neither text nor JSON: {error}") from error


def refuse_unstorable(prompt: Dialogue, texts: Mapping[str, str | None]) -> None:
    """Raise UnusableRow for a text with a character that no database or file holds."""
    named = [("prompt", message["content"]) for message in prompt]
    named += [(f"{name} response", text) for name, text in texts.items() if text]
    for name, text in named:
        if reason := unstorable_reason(text):
            raise UnusableRow(f"the {name} {reason}")
