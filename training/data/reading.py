"""Rows of datasets, good and bad, out of files and of the hub's datasets, one at a time. Torch-free.

What the columns mean is recognised from the first 200 records together, because the first one may lack a key.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from training.data.formats import layout_named
from training.data.formats.layout import Layout, Problem
from training.data.messages import UnusableRow
from training.data.ratings import MOST_ASPECTS
from training.data.records import Record, read_records
from training.data.records.cells import MAX_COLUMNS, NoRecord
from training.data.reference import ROLE
from training.data.rows import (
    NAMES_WITH_A_MEANING,
    BadRow,
    Columns,
    Format,
    Row,
    beginning_of,
    columns_of,
    of_record,
    recognise,
    refuse_unstorable_row,
    to_row,
    unused_columns,
)
from training.errors import BadData

MAX_ROWS = 1_000_000
FIRST_RECORDS = 200  # from which the format is recognised
PREVIEW_BYTES = 16_000_000  # decompressed, that a preview reads
MAX_ROWS_OF_RECORDS = 500  # that one record, or neighbours that belong together, may become
MAX_TOGETHER, MAX_TOGETHER_BYTES = 2_000, 8_000_000  # records that belong together


@dataclass
class FilePreview:
    """What a file looks like: its columns, the format if it is recognised, the first rows, and a problem if there is
    one."""

    columns: list[str] = field(default_factory=list)
    format: Format | None = None
    rows: list[Row | BadRow] = field(default_factory=list)
    problem: BadData | None = None
    unused: list[str] = field(default_factory=list)  # columns that nothing is read from, as they can be shown


def read_rows(source: Path | IO[bytes], filename: str, columns: Columns | None = None,
              limit: int | None = None) -> Iterator[Row | BadRow]:
    """Rows of a file, good and bad, one at a time.

    Args:
        source: a path, or an open binary file such as an upload.
        filename: its ending tells how to read it, see `SUFFIXES`.
        columns: which column means what, e.g. {"prompt": "question"}; empty: recognised from names and first rows.
        limit: stop after this many rows, good and bad together.

    Raises:
        BadData: when the file as a whole cannot be read: unknown ending, not a gzip, no known column.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from _rows(read_records(file, filename), columns, limit)
    else:
        yield from _rows(read_records(source, filename), columns, limit)


def read_hub(name: str, split: str = "train", columns: Columns | None = None,
             limit: int | None = None) -> Iterator[Row | BadRow]:
    """Rows of a dataset on the hub, streamed. Raises BadData as `training.data.hub_records`."""
    # It checks recipes, whose import takes 0.4 s: most of the start of the process that previews a file.
    from training.data.hub_records import hub_records

    yield from _rows(enumerate(hub_records(name, split), 1), columns, limit)


def _rows(records: Iterable[Record], columns: Columns | None, limit: int | None) -> Iterator[Row | BadRow]:
    """Records as rows. Only the first ones are held, until the format is known."""
    records = iter(records)
    first = list(itertools.islice(records, min(FIRST_RECORDS, limit or FIRST_RECORDS)))
    form, column_names = _recognised(first, columns)
    if form is None:  # none of the first can be read
        for number, record in first:
            yield _unreadable(number, str(record))
        first = list(itertools.islice(records, 1))
        while first and isinstance(first[0][1], str):
            yield _unreadable(*first[0])
            first = list(itertools.islice(records, 1))
        form, column_names = _recognised(first, columns)
    if form is not None:
        aspects: set[str] = set()
        for number, row in enumerate(_made(itertools.chain(first, records), form, column_names, columns), 1):
            if limit and number > limit:
                return
            if number > MAX_ROWS:
                yield BadRow(number, f"this row and all after it are left out: at most {MAX_ROWS:,} are read")
                return
            if isinstance(row, Row) and row.ratings and not row.ratings.keys() <= aspects:
                if len(aspects | row.ratings.keys()) > MOST_ASPECTS:
                    yield BadRow(number, f"its ratings name more aspects than the {MOST_ASPECTS} of the rows before it")
                    continue
                aspects |= row.ratings.keys()
            yield row


def _made(records: Iterable[Record], form: Format, column_names: list[str],
          columns: Columns | None) -> Iterator[Row | BadRow]:
    """The rows that records become, as their format says: one each, or as many as a layout makes of them."""
    layout = layout_named(form.kind)
    if layout is not None:
        yield from _laid_out(records, layout)
        return
    for number, record in records:
        yield _row(number, record, form, column_names, columns)


def _laid_out(records: Iterable[Record], layout: Layout) -> Iterator[Row | BadRow]:
    together: list[tuple[int, Mapping[str, Any]]] = []
    size = 0
    for number, record in records:
        if isinstance(record, str):
            yield _unreadable(number, record)
            continue
        length = _length(record)
        if together and (not _belong_together(layout, together[-1][1], record) or len(together) == MAX_TOGETHER
                         or size + length > MAX_TOGETHER_BYTES):
            yield from _of_layout(together, layout)
            together, size = [], 0
        together.append((number, record))
        size += length
    if together:
        yield from _of_layout(together, layout)


def _belong_together(layout: Layout, before: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    return bool(layout.group) and all(before.get(name) == record.get(name) for name in layout.group)


def _length(record: Mapping[str, Any]) -> int:
    return sum(len(cell) for cell in record.values() if isinstance(cell, str))


def _of_layout(together: list[tuple[int, Mapping[str, Any]]], layout: Layout) -> Iterator[Row | BadRow]:
    """The rows of records that belong together; a problem is that of the record it names, else of the first one."""
    by_number = dict(together)
    made = layout.rows(together)
    for count in itertools.count(1):
        try:
            row = next(made, None)
            if row is None:
                return
            if count > MAX_ROWS_OF_RECORDS:
                row = Problem(f"it becomes more than {MAX_ROWS_OF_RECORDS} rows: the others are left out")
            if isinstance(row, Row):
                refuse_unstorable_row(row)
                yield row
                continue
        except UnusableRow as problem:
            row = Problem(str(problem))
        number = row.number or together[0][0]
        yield BadRow(number, row.reason, beginning_of(by_number[number]))
        if count > MAX_ROWS_OF_RECORDS:
            return


def _recognised(first: list[Record], columns: Columns | None) -> tuple[Format | None, list[str]]:
    """The format, None where no record can be read, and the columns that the first records have."""
    readable = [record for _, record in first if not isinstance(record, str)]
    column_names = columns_of(readable)
    if len(column_names) > MAX_COLUMNS:
        raise BadData(f"Its first {len(readable)} rows have {len(column_names):,} different columns; at most "
                      f"{MAX_COLUMNS:,} are read.", "Remove those that are not needed.")
    return (recognise(column_names, readable, columns) if readable else None), column_names


def _unreadable(number: int, reason: Mapping[str, Any] | str) -> BadRow:
    return BadRow(number, str(reason), reason.raw if isinstance(reason, NoRecord) else "")


def _row(number: int, record: Mapping[str, Any] | str, form: Format, column_names: list[str],
         columns: Columns | None) -> Row | BadRow:
    if isinstance(record, str):
        return _unreadable(number, record)
    late = [name for name in NAMES_WITH_A_MEANING if record.get(name) is not None and name not in column_names]
    if late and of_record(record, form) is form and _texts_of(
            recognise([*column_names, *late], [record], columns)) != _texts_of(form):
        return BadRow(number, f"it has a column '{late[0]}', which none of the first {FIRST_RECORDS} rows has: move it "
                              "up in the file, or choose the columns again", beginning_of(record))
    try:
        return to_row(record, form)
    except UnusableRow as problem:
        return BadRow(number, str(problem), beginning_of(record))


def _texts_of(form: Format) -> dict[str, str]:
    """The columns of the prompt and the responses: whether a column holds reference answers one record cannot say."""
    return {role: name for role, name in form.columns.items() if role != ROLE}


def preview_file(source: IO[bytes], filename: str, columns: Columns | None = None, count: int = 20) -> FilePreview:
    """The columns, the format and the first rows of a file; what is wrong with it stands in `problem`."""
    first: list[Record] = []
    result = FilePreview()
    try:
        for record in read_records(source, filename, PREVIEW_BYTES):
            first.append(record)
            if len(first) == FIRST_RECORDS:
                break
    except BadData as problem:
        result.problem = problem
    result.rows = [BadRow(number, record) for number, record in first[:count] if isinstance(record, str)]
    try:
        form, result.columns = _recognised(first, columns)
    except BadData as problem:
        columns_there = columns_of([record for _, record in first if not isinstance(record, str)])
        result.columns = columns_there if len(columns_there) <= MAX_COLUMNS else []
        result.problem = result.problem or problem
        return result
    if form is not None:
        result.format = form
        result.unused = unused_columns(result.columns, form)
        result.rows = list(itertools.islice(_made(first, form, result.columns, columns), count))
    elif result.problem is None:
        reason = f" Row 1: {result.rows[0].reason}." if result.rows and isinstance(result.rows[0], BadRow) else ""
        result.problem = BadData(f"'{filename}' has no row that can be read in its first {PREVIEW_BYTES // 1_000_000} "
                               f"MB.{reason}",
                               "Look at the file, then choose another.")
    return result


def preview(source: Path | IO[bytes], filename: str, columns: Columns | None = None,
            count: int = 20) -> tuple[Format, list[str], list[Row | BadRow]]:
    """The format, the file's columns and the first rows, for a person to look at before importing.

    Raises:
        BadData: as `read_rows`; also when the file has no rows.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return preview(file, filename, columns, count)
    result = preview_file(source, filename, columns, count)
    if result.problem is not None or result.format is None:
        raise result.problem or BadData(f"'{filename}' has no row that can be read.", "Choose another file.")
    return result.format, result.columns, result.rows
