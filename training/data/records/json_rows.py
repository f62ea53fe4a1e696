"""Records of JSON: one per line, a list, a list inside an object, or objects one after another over many lines.

A list is split into its elements while it is read, so that neither its length nor a single broken element matters.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

from training.data.records.cells import (
    MAX_BLANK_LINES,
    MAX_CELL,
    NOT_UTF8,
    TOO_LONG,
    NoRecord,
    Record,
    Unreadable,
    is_utf8,
    object_or_reason,
    parse_json,
)
from training.data.records.prefixed import Prefixed
from training.errors import BadData

_PREFIX = 1 << 18  # bytes that tell how a file is laid out
_CHUNK = 1 << 16
_OUTSIDE = re.compile(rb'[\[{]+|["\]},]')
_INSIDE = re.compile(rb'["\\]')
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*+)"|[\[\]{}:]', re.DOTALL)
# Lists under these names are the messages of one row; a list under another name is the list of rows.
_OF_A_ROW = {"prompt", "chosen", "rejected", "messages", "conversations", "conversation", "response", "completion",
             "history", "output", "input", "tools", "system", "completions", "responses", "answers", "summaries",
             "conversation_a", "conversation_b", "context", "annotations", "predictions", "replies"}


def json_records(stream: io.BufferedReader) -> Iterator[Record]:
    """Records of a UTF-8 stream, whichever way its JSON is laid out."""
    prefix = stream.read(_PREFIX)
    start = prefix.lstrip()
    if start.startswith(b"["):
        values = Splitter(_chunks(start[1:], stream))
        yield from _list(values)
        if (values.rest + stream.read(_CHUNK)).strip():
            raise BadData("The list in the file ends, and something else follows it.",
                          "Save one list of objects, or one object per line (messages as {\"messages\": [...]}).")
        return
    if start.startswith(b"{") and not _is_row_per_line(start):
        inner = _list_inside(start)
        if inner is not None:
            name, offset = inner
            yield from _wrapped(name, Splitter(_chunks(start[offset:], stream)), stream)
            return
        if _is_over_many_lines(start):
            yield from _many_lines(Splitter(_chunks(start, stream), one_after_another=True))
            return
    yield from _lines(io.BufferedReader(Prefixed(prefix, stream)))


def _is_row_per_line(start: bytes) -> bool:
    """Whether the first line, or the second if the first is broken, is an object of its own."""
    lines = [line for line in start[: MAX_CELL].split(b"\n", 20)[:20] if line.strip()]
    first = _parsed(lines[0])
    if isinstance(first, dict):
        alone = len(lines) == 1
        return not (alone and _list_inside(start))
    second = _parsed(lines[1]) if len(lines) > 1 and lines[1].lstrip().startswith(b"{") else None
    return isinstance(second, dict) and _list_inside(lines[0] + b"\n" + lines[1]) is None


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line.decode())
    except ValueError:
        return None


def _is_over_many_lines(start: bytes) -> bool:
    """Whether the first line ends where JSON goes on, or lines end in carriage returns alone."""
    line = start.split(b"\n", 1)[0].rstrip()
    return b"\n" in start and line.endswith((b"{", b"[", b",", b":")) or b"\n" not in start and b"}\r{" in start


def _list_inside(start: bytes) -> tuple[str, int] | None:
    """The name of the first list of objects in an object, and where its first element begins."""
    depth, string, name = 0, b"", ""
    for token in _TOKEN.finditer(start):
        if token[0].startswith(b'"'):
            string = token[1]
        elif token[0] == b":" and depth == 1:
            name = string.decode(errors="replace")
        elif token[0] in b"[{":
            if depth == 1 and token[0] == b"[" and name not in _OF_A_ROW and start[token.end():].lstrip()[:1] == b"{":
                return name, token.end()
            depth += 1
        elif token[0] in b"]}":
            depth -= 1
    return None


def _chunks(first: bytes, stream: io.BufferedReader) -> Iterator[bytes]:
    yield first
    while chunk := stream.read(_CHUNK):
        yield chunk


class Splitter:
    """Cuts JSON into values: the elements of a list whose '[' was read, or objects one after another.

    A value longer than MAX_CELL comes as None and is never held. `ended` says whether the list's ']' came, and `rest`
    holds what was read beyond it.
    """

    def __init__(self, chunks: Iterable[bytes], one_after_another: bool = False) -> None:
        self._chunks = iter(chunks)
        self._objects = one_after_another
        self.ended = False
        self.rest = b""

    def __iter__(self) -> Iterator[bytes | None]:
        value, depth, inside, position = bytearray(), 0, False, 0
        for chunk in self._chunks:
            start = 0
            while match := (_INSIDE if inside else _OUTSIDE).search(chunk, position):
                token, position = match[0], match.end()
                if inside:
                    inside = token != b'"'
                    position += inside  # a backslash: skip the next character, even in the next chunk
                    continue
                if token == b'"':
                    inside = True
                elif token[0] in b"[{":
                    depth += len(token)
                elif token in b"]}" and depth:
                    depth -= 1
                    if self._objects and not depth:
                        yield _bounded(value, chunk[start:position])
                        start = position
                elif token in b",]" and not depth and not self._objects:
                    self.ended = token == b"]"
                    yield _bounded(value, chunk[start: match.start()])
                    start = position
                    if self.ended:
                        self.rest = chunk[position:]
                        return
            if len(value) <= MAX_CELL:
                value += chunk[start:]
            position = max(0, position - len(chunk))
        if value.strip():
            yield _bounded(value, b"")


def _bounded(value: bytearray, end: bytes) -> bytes | None:
    """The value that ends here, or None if it is too long; `value` is empty afterwards."""
    complete = bytes(value) + end if len(value) + len(end) <= MAX_CELL else None
    value.clear()
    return complete


def _list(values: Splitter) -> Iterator[Record]:
    for number, value in enumerate(values, 1):
        if values.ended and value is not None and not value.strip():
            break  # an empty list, or a comma after the last element
        yield number, _record(value)
    if not values.ended:
        raise BadData("The file starts with '[' but the list in it never ends.",
                      "It may be cut off; save it again, or as one JSON object per line.")


def _wrapped(name: str, values: Splitter, stream: io.BufferedReader) -> Iterator[Record]:
    number = 0
    for number, record in _list(values):
        yield number, record
    second_list = _list_inside(b"{" + values.rest + stream.read(MAX_CELL))
    if second_list is not None:
        yield number + 1, f"the file is an object with several lists; '{name}' is read, '{second_list[0]}' is not"


def _many_lines(values: Splitter) -> Iterator[Record]:
    number = 0
    for value in values:
        if value is not None and not value.strip(b" \t\r\n,"):
            continue
        number += 1
        record = _record(value.strip(b" \t\r\n,") if value else value)
        if number == 1:
            _refuse_columns(record)
        yield number, record


def _refuse_columns(record: Any) -> None:
    """Raise BadData for an object that holds whole columns, as pandas writes a table unless told otherwise."""
    if not isinstance(record, dict) or not record:
        return
    values = list(record.values())
    by_number = all(isinstance(value, dict) and value and all(key.isdigit() for key in value) for value in values)
    lists = all(isinstance(value, list) and value and isinstance(value[0], str) for value in values)
    if by_number or lists or set(record) == {"columns", "index", "data"}:
        raise BadData(f"The file is one object of columns ({', '.join(list(record)[:5])}), not a list of rows.",
                      "Save it row by row (in pandas: orient='records', lines=True).")


def _lines(stream: io.BufferedReader) -> Iterator[Record]:
    number = blank = 0
    while line := stream.readline(MAX_CELL + 1):
        if len(line) > MAX_CELL:
            number += 1
            yield number, TOO_LONG
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_CELL)
        elif line.strip():
            number += 1
            record = _record(line)
            if number == 1:
                _refuse_columns(record)
            yield number, record
        else:
            blank += 1
            if blank > MAX_BLANK_LINES:
                raise BadData(f"The file holds more than {MAX_BLANK_LINES:,} blank lines.", "Remove them.")


def _record(value: bytes | None) -> Any:
    """The object that the text of a row holds, or why there is none."""
    if value is None:
        return TOO_LONG
    text = value.decode(errors="surrogateescape")
    try:
        record = object_or_reason(parse_json(text))
    except ValueError as error:
        return NoRecord.of(f"invalid JSON: {error}" if is_utf8(text) else f"invalid JSON, and it {NOT_UTF8}", text)
    if isinstance(record, str):
        return NoRecord.of(record, text)
    if is_utf8(text):
        return record
    return {key: cell if _is_whole(cell) else Unreadable(NOT_UTF8) for key, cell in record.items()}


def _is_whole(cell: Any) -> bool:
    """Whether no text in the cell holds a byte that was not UTF-8."""
    if isinstance(cell, str):
        return is_utf8(cell)
    if isinstance(cell, dict):
        return all(_is_whole(item) for pair in cell.items() for item in pair)
    return all(map(_is_whole, cell)) if isinstance(cell, list) else True
