"""The page's end of the live socket, made from the server's types. `python -m tests.wire` writes it."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from webapp.runs.live import messages

SCRIPT = Path(__file__).resolve().parent.parent / "webapp" / "static" / "js" / "messages.js"
ARRAYS = (messages.Points, messages.Line, messages.NewSample)
SENT = messages.Place  # the array that the page sends
OBJECTS = (messages.RunState, messages.StageState, messages.Hello, messages.Delta, messages.Resync, messages.Subscribe)
PLAIN = {int: "number", float: "number", str: "string", type(None): "null"}
HEAD = """\
// The messages of a run's live socket, as webapp/runs/live/messages.py has them. Made by `python -m tests.wire`.
"""


def script() -> str:
    parts = [HEAD, f"export const PROTOCOL = {messages.PROTOCOL};\n"]
    parts += [_typedef(message) for message in (*ARRAYS, SENT, *OBJECTS)]
    parts.append(f"/** @typedef {{{_type(messages.Message)}}} Message */\n")
    parts.append("// What travels as an array, with names in the place of positions; and back.\n")
    for array in ARRAYS:
        fields = ", ".join(array._fields)
        parts.append(f"/** @returns {{{array.__name__}}} */\n"
                     f"export const to{array.__name__} = ([{fields}]) => ({{ {fields} }});\n")
    fields = ", ".join(SENT._fields)
    parts.append(f"/** @param {{{SENT.__name__}}} place */\n"
                 f"export const from{SENT.__name__} = ({{ {fields} }}) => [{fields}];\n")
    return "\n".join(parts)


def _typedef(message: type) -> str:
    lines = [f"/**\n * {line}" if place == 0 else f" * {line.strip()}"
             for place, line in enumerate((message.__doc__ or "").splitlines())]
    lines.append(f" * @typedef {{object}} {message.__name__}")
    for name, hint in typing.get_type_hints(message, include_extras=True).items():
        optional = typing.get_origin(hint) is typing.NotRequired
        lines.append(f" * @property {{{_type(hint)}}} {f'[{name}]' if optional else name}")
    return "\n".join([*lines, " */"]) + "\n"


def _type(hint: Any) -> str:
    """A Python type as JSDoc writes it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.NotRequired:
        return _type(inner[0])
    if origin is typing.Literal:
        return "|".join(f'"{value}"' for value in inner)
    if origin in (types.UnionType, typing.Union):
        return "|".join(map(_type, inner))
    if origin is list:
        return f"Array<{_type(inner[0])}>"
    if origin is dict:
        return f"Object<{_type(inner[0])}, {_type(inner[1])}>"
    return PLAIN.get(hint) or str(hint.__name__)


if __name__ == "__main__":
    SCRIPT.write_text(script())
