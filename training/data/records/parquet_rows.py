"""Records of Parquet files, a few rows at a time; a value that Python or UTF-8 cannot represent costs its cell only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from training.data.records.cells import MAX_CELL, MAX_COLUMNS, NOT_UTF8, TOO_LONG, Record, Unreadable, check_size
from training.errors import BadData

if TYPE_CHECKING:
    import pyarrow

_ROWS = 16  # in memory at once: a dictionary-encoded cell of a few bytes may be a long text
_MAX_FOOTER = 16_000_000
_BUFFER = 1 << 20  # without a buffer, a whole column of a row group is in memory


def parquet_records(file: IO[bytes], preview_bytes: int | None = None) -> Iterator[Record]:
    """Records of an open file.

    Args:
        preview_bytes: for a preview: the records end where they hold this many bytes.

    Raises:
        BadData: it is no Parquet file, or larger or wider than what is read.
        MemoryError: a few of its rows do not fit the memory.
    """
    import pyarrow
    import pyarrow.parquet

    file_size = _check_footer(file)
    try:
        table = pyarrow.parquet.ParquetFile(file, buffer_size=_BUFFER)
        check_size(sum(table.metadata.row_group(i).total_byte_size for i in range(table.metadata.num_row_groups)),
                   file_size)
        if table.metadata.num_columns > MAX_COLUMNS:
            raise BadData(f"The file has {table.metadata.num_columns:,} columns; at most {MAX_COLUMNS:,} are read.",
                          "Remove those that are not needed.")
        number = size = 0
        for batch in table.iter_batches(batch_size=_ROWS, use_threads=False):
            columns = [cells_of(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(batch.schema.names, cells, strict=True))
            size += batch.nbytes
            check_size(size, file_size)  # it may be more than its metadata says
            if preview_bytes is not None and size > preview_bytes:
                return
    except pyarrow.ArrowMemoryError as error:
        raise MemoryError(words_of(error)) from error
    except UnicodeDecodeError as error:  # bad cells are handled cell by cell; this is the file's metadata
        raise BadData("The name of a column in the Parquet file is not UTF-8 text.",
                      "Rename the columns with plain letters, and write the file again.") from error
    except (BadData, MemoryError, OSError):
        raise
    except Exception as error:  # pyarrow has no common base of what it raises at a damaged file
        raise BadData(f"The Parquet file could not be read: {words_of(error)}.",
                      "It may be damaged; upload it again.") from error


def _check_footer(file: IO[bytes]) -> int:
    """The file's size. A file with an implausibly large footer is refused without parsing it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    file.seek(0)
    if len(end) == 8 and end.endswith(b"PAR1") and int.from_bytes(end[:4], "little") > _MAX_FOOTER:
        raise BadData("The Parquet file describes more columns or row groups than are read.",
                      "Write it with fewer columns and larger row groups.")
    return size


def cells_of(column: pyarrow.Array) -> list[Any]:
    """The values of a column; one that cannot be read costs its cell only."""
    import pyarrow

    if isinstance(column.type, pyarrow.BaseExtensionType):
        column = column.storage
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.view(_text_types().get(column.type, column.type))
    kind = column.type
    if not _may_hold_text(kind):
        return [Unreadable(f"holds a {kind}, not text") if is_valid else None
                for is_valid in column.is_valid().to_pylist()]
    if column.nbytes <= MAX_CELL:
        try:
            return list(column.to_pylist())
        except Exception:  # one of them: which, is found out cell by cell
            pass
    return [_cell(column.slice(index, 1)) for index in range(len(column))]


@cache
def _text_types() -> dict[Any, Any]:
    """The types of text by those of bytes, which some databases write for text."""
    import pyarrow

    return {pyarrow.binary(): pyarrow.string(), pyarrow.large_binary(): pyarrow.large_string(),
            pyarrow.binary_view(): pyarrow.string_view()}


def _cell(column: pyarrow.Array) -> Any:
    if column.nbytes > MAX_CELL + 64:
        return Unreadable(f"holds a value that is {TOO_LONG}")
    try:
        return column[0].as_py()
    except UnicodeDecodeError:
        return Unreadable(NOT_UTF8)
    except Exception as error:  # dates and numbers that Python lacks, and anything else that pyarrow cannot convert
        return Unreadable(f"holds a {column.type} that cannot be read: {words_of(error)}")


def _may_hold_text(kind: pyarrow.DataType) -> bool:
    """Whether a column may hold text or messages, or is a plain number, which needs no care."""
    import pyarrow.types as types

    return any(test(kind) for test in (
        types.is_string, types.is_large_string, types.is_string_view, types.is_list, types.is_large_list,
        types.is_fixed_size_list, types.is_struct, types.is_map, types.is_boolean, types.is_integer,
        types.is_floating, types.is_null))


def words_of(error: Exception) -> str:
    """What pyarrow says, as a sentence can hold it."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
