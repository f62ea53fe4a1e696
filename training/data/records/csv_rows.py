"""Records of CSV as spreadsheets save it: commas, semicolons, tabs or bars, and lines that end in any way."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from typing import Any

from training.data.records.cells import (
    MAX_BLANK_LINES,
    MAX_CELL,
    MAX_COLUMNS,
    NOT_UTF8,
    TOO_LONG,
    NoRecord,
    Record,
    Unreadable,
    is_utf8,
)
from training.errors import BadData

_MARK = "\ufdd0"  # a noncharacter: marks a line that was too long
_SEPARATORS = ",;\t|"
_QUOTED = re.compile(r'"[^"]*"')
_EXCEL_HINT = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)  # a first line that only Excel writes
_ERRORS = {
    "field larger": f"a cell is {TOO_LONG}; perhaps a quotation mark is never closed",
    "unexpected end": "a quotation mark is opened and never closed: all lines up to the end of the file are in it",
    "expected after": "a quotation mark stands inside a quoted cell: write it twice",
}


def csv_records(stream: io.BufferedReader, separator: str = "") -> Iterator[Record]:
    """Records of a UTF-8 stream; bytes that are not UTF-8 make a cell unreadable, not the file.

    Args:
        separator: of the cells; empty: recognised from the first line.
    """
    lines: Iterator[str] = _lines(io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline=""))
    lines = itertools.dropwhile(lambda line: not line.strip(), lines)  # the names stand in the first line with text
    first = next(lines, "")
    hint = _EXCEL_HINT.fullmatch(first)
    if hint:
        first = next(lines, "")
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(itertools.chain([first], lines), strict=True,
                        delimiter=hint[1] if hint and hint[1] in _SEPARATORS else separator or separator_of(first))
    try:
        columns = _names(next(reader, []))
    except csv.Error as error:
        raise BadData(f"The first line, with the names of the columns, cannot be read: {_reason(error)}.",
                      "Mend it, or save the file again.") from error
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, _reason(error)
            continue
        if cells:
            number += 1
            yield number, _record(columns, cells)


def separator_of(line: str) -> str:
    """What separates the cells of a file whose first line this is: the sign that occurs most, or else the comma."""
    unquoted = _QUOTED.sub("", line)
    return max(_SEPARATORS, key=unquoted.count)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines with their line endings; an overlong line is skipped without holding it in memory."""
    blank = 0
    while line := text.readline(MAX_CELL + 1):
        if len(line) > MAX_CELL:
            yield _MARK + "\n"
            while line and not line.endswith(("\n", "\r")):
                line = text.readline(MAX_CELL)
            continue
        if not line.strip("\r\n"):
            blank += 1
            if blank > MAX_BLANK_LINES:
                raise BadData(f"The file holds more than {MAX_BLANK_LINES:,} blank lines.", "Remove them.")
        yield line


def _names(header: list[str]) -> list[str]:
    """The names of the columns, each once: of two with one name neither may hide the other."""
    if any(_MARK in cell for cell in header):
        raise BadData("The first line, with the names of the columns, is " + TOO_LONG + ".", "Look at the file.")
    if len(header) > MAX_COLUMNS:
        raise BadData(f"The file has {len(header):,} columns; at most {MAX_COLUMNS:,} are read.",
                      "Remove those that are not needed.")
    names: list[str] = []
    for number, cell in enumerate(header, 1):
        name = cell.strip() or f"column {number}"
        names.append(name if name not in names else f"{name} ({number})")
    return names


def _record(columns: list[str], cells: list[str]) -> dict[str, Any] | str:
    if any(_MARK in cell for cell in cells):
        return TOO_LONG
    if any(cells[len(columns):]):
        return NoRecord.of("more cells than there are columns", ",".join(cells))
    return {name: cell if is_utf8(cell) else Unreadable(NOT_UTF8) for name, cell in zip(columns, cells, strict=False)}


def _reason(error: csv.Error) -> str:
    return next((words for part, words in _ERRORS.items() if part in str(error)), str(error))
