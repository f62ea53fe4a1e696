"""A recipe's YAML as plain values, read within bounds: for any text this ends soon, with a value or a clear message.

A recipe is a small tree of texts, numbers and lists. So what makes YAML dangerous or surprising is refused: anchors,
aliases and merge keys (432 bytes of them can stand for a billion values), tags (`!!int`, `!!python/...`), a second
document, a key that stands twice in a mapping, and more depth or nodes than any recipe has. Numbers, true, false and
null are those of YAML 1.2: a date (`2026-01-01`), the Norwegian `no`, `010` and `12:30` are the text that was written,
and a field of numbers or of yes and no reads it from that text. The bounds are held on the events of libyaml's parser,
before a value is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from training.errors import BadSettings
from training.text import unstorable_reason

LONGEST = 200_000  # characters
_DEEPEST = 30
_MOST_NODES = 20_000
_LONGEST_NUMBER = 400  # digits; a float ends at 309
_Event = Any
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _PlainLoader(_Loader):
    """Texts, numbers, booleans and null; everything else that YAML 1.1 knows is a text."""

    yaml_implicit_resolvers: dict[str, Any] = {}


for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
     "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
]:
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def read_yaml_text(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        BadSettings: it is no YAML, or YAML that no recipe needs; the message names the line.
    """
    if len(text) > LONGEST:
        raise BadSettings(f"This YAML has {len(text):,} characters; at most {LONGEST:,} are read.",
                          "Paste the recipe alone.")
    if reason := unstorable_reason(text):
        raise BadSettings(f"This YAML {reason}.", "Remove the character.")
    try:
        _check(yaml.parse(text, Loader=_Loader))
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise BadSettings(f"This is not valid YAML: {_in_words(error)}.", "Correct the line it names.") from error
    except ValueError as error:  # PyYAML lets through what int() and float() raise
        raise BadSettings(f"This YAML has a number that cannot be read: {str(error)[:200]}.",
                          "Put it in quotation marks, or correct it.") from error


def _check(events: Iterator[_Event]) -> None:
    """Refuse what a recipe never needs. A mapping's keys are every other one of its children."""
    open_nodes: list[list[Any]] = []  # of each open collection: its keys seen, and whether the next child is a key
    nodes = documents = 0
    for event in events:
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise _refusal(event, "a second document begins", "Paste one recipe.")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refusal(event, f"the name '{event.anchor}' stands for another part of the text (& and *)",
                           "Write the values out.")
        if not isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if isinstance(event, yaml.CollectionEndEvent):
                open_nodes.pop()
            continue
        nodes += 1
        if nodes > _MOST_NODES or len(open_nodes) >= _DEEPEST:
            raise _refusal(event, f"it has more than {_MOST_NODES:,} values or {_DEEPEST} levels",
                           "Paste the recipe alone.")
        if event.tag and event.tag != "!":
            raise _refusal(event, f"it has the tag '{event.tag[:60]}'", "Write the value without a tag.")
        _check_child(event, open_nodes)
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append([set() if isinstance(event, yaml.MappingStartEvent) else None, True])


def _check_child(event: _Event, open_nodes: list[list[Any]]) -> None:
    """A key is a short text that stands once, a number has as many digits as a number can have, and no escape makes a
    character that cannot be stored."""
    if isinstance(event, yaml.ScalarEvent) and (reason := unstorable_reason(event.value)):
        raise _refusal(event, f"a text {reason}", "Remove the character.")
    if isinstance(event, yaml.ScalarEvent) and len(event.value) > _LONGEST_NUMBER and event.implicit[0] \
            and event.value.lstrip("+-").replace("_", "").isdecimal():
        raise _refusal(event, f"it has a number of {len(event.value):,} digits", "Write a smaller one.")
    if not open_nodes or open_nodes[-1][0] is None:
        return
    keys, is_key = open_nodes[-1]
    open_nodes[-1][1] = not is_key
    if not is_key:
        return
    if not isinstance(event, yaml.ScalarEvent):
        raise _refusal(event, "a key is a list or a mapping", "Write the key as a word.")
    if event.value == "<<" and event.implicit[0]:
        raise _refusal(event, "it merges another mapping (<<)", "Write the values out.")
    if event.value in keys:
        raise _refusal(event, f"the key '{event.value[:60]}' stands twice", "Remove one of them.")
    keys.add(event.value)


def _refusal(event: _Event, what: str, remedy: str) -> BadSettings:
    return BadSettings(f"This YAML cannot be read as a recipe: in line {event.start_mark.line + 1} {what}.", remedy)


def _in_words(error: yaml.YAMLError) -> str:
    """What PyYAML found wrong and where, on one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} in line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)
