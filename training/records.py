"""Records of JSONL, JSON, CSV and Parquet files, one at a time, whatever the file holds. Torch-free.

An upload may be damaged or hostile: lines, rows and the decompressed size are bounded, and a record that cannot be
read is handed back as the reason, so that the rows after it are not lost.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeAlias, cast

from training.errors import BadData
from training.rows import kind_of

MAX_LINE = 1_000_000  # bytes a row: a gzip of one endless line must not fill the memory
MAX_BYTES = 4_000_000_000  # decompressed
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")

Record: TypeAlias = tuple[int, Mapping[str, Any] | str]  # number from 1, and the record or why there is none


def read_records(file: IO[bytes], filename: str) -> Iterator[Record]:
    """Records of an open binary file; its name tells how to read it. Raises BadData for the file as a whole."""
    name = filename.lower()
    if not name.endswith(SUFFIXES):
        raise BadData(f"'{filename}' has an ending that is not known.", f"Known are {', '.join(SUFFIXES)}.")
    try:
        if name.endswith(".parquet"):
            yield from _parquet(file)
            return
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if name.endswith(".gz") else file
        reader = _csv if ".csv" in name[-7:] else _json
        yield from reader(_lines(plain))
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"'{filename}' could not be read: {error}.",
                      "It may be damaged or cut off; upload it again.") from error


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """Lines of at most MAX_LINE bytes; None stands for a longer one, which is skipped without being held."""
    total = 0
    while line := file.readline(MAX_LINE + 1):
        total += len(line)
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE + 1)
                total += len(line)
            yield None
        else:
            yield line
        if total > MAX_BYTES:
            raise BadData("The file holds more than 4 GB of text.", "Split it and import the parts.")


_TOO_LONG = f"longer than {MAX_LINE // 1_000_000} MB"
_MARK = "\ufdd0"  # no character of any text: stands for a line of CSV that was too long


def _json(lines: Iterator[bytes | None]) -> Iterator[Record]:
    number = 0
    for line in lines:
        if line is not None and not line.strip():
            continue
        number += 1
        if line is None:
            yield number, _TOO_LONG
            continue
        if number == 1 and line.lstrip(b"\xef\xbb\xbf \t").startswith(b"["):
            yield from _json_list([line, *(part or b"" for part in lines)])
            return
        try:
            yield number, _object(json.loads(line.decode("utf-8-sig")))
        except UnicodeDecodeError:
            yield number, "not UTF-8 text"
        except (ValueError, RecursionError) as error:
            yield number, f"invalid JSON: {error}"


def _json_list(parts: list[bytes]) -> Iterator[Record]:
    try:
        values = json.loads(b"".join(parts).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"The file starts with '[' but is no list in JSON: {error}.",
                      "Save it as one JSON a line.") from error
    for number, value in enumerate(values, 1):
        yield number, _object(value)


def _object(value: Any) -> Mapping[str, Any] | str:
    return value if isinstance(value, dict) else f"expected an object, found {kind_of(value)}"


def _csv(lines: Iterator[bytes | None]) -> Iterator[Record]:
    def text() -> Iterator[str]:
        for number, line in enumerate(lines):
            encoding = "utf-8-sig" if number == 0 else "utf-8"
            yield _MARK + "\n" if line is None else line.decode(encoding, errors="replace")

    csv.field_size_limit(MAX_LINE)
    reader = csv.DictReader(text())
    number = 0
    while True:
        number += 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, str(error)
            continue
        if _MARK in record.values():
            yield number, _TOO_LONG
        elif None in record:
            yield number, "more cells than there are columns"
        else:
            yield number, record


def _parquet(file: IO[bytes]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file)
        size = sum(table.metadata.row_group(i).total_byte_size for i in range(table.metadata.num_row_groups))
        if size > MAX_BYTES:
            raise BadData("The file holds more than 4 GB of data.", "Split it and import the parts.")
        number = 0
        for batch in table.iter_batches(batch_size=64):
            for record in batch.to_pylist():
                number += 1
                long = any(isinstance(value, str) and len(value) > MAX_LINE for value in record.values())
                yield number, _TOO_LONG if long else record
    except pyarrow.ArrowException as error:
        raise BadData(f"The Parquet file could not be read: {error}.", "It may be damaged; upload it again.") from error
