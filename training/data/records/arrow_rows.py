"""Records of Arrow files and streams, as the hub's library and Feather write them, a batch of rows at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from training.data.records.cells import MAX_COLUMNS, Record, check_size
from training.data.records.parquet_rows import cells_of, words_of
from training.errors import BadData

if TYPE_CHECKING:
    import pyarrow

_ROWS = 16  # as Python values at once
_MAGIC = b"ARROW1"  # a file; a stream begins without it


def arrow_records(file: IO[bytes], preview_bytes: int | None = None) -> Iterator[Record]:
    """Records of an open file.

    Args:
        preview_bytes: for a preview: the records end where they hold this many bytes.

    Raises:
        BadData: it is no Arrow file, or larger or wider than what is read.
        MemoryError: one of its batches does not fit the memory.
    """
    import pyarrow

    file_size = file.seek(0, os.SEEK_END)
    number = size = 0
    try:
        for batch in _batches(file):
            batch.validate(full=True)  # offsets that a damaged file has wrong would be read outside its memory
            for start in range(0, batch.num_rows, _ROWS):
                part = batch.slice(start, _ROWS)
                for cells in zip(*map(cells_of, part.columns), strict=True):
                    number += 1
                    yield number, dict(zip(batch.schema.names, cells, strict=True))
                size += part.nbytes
                check_size(size, file_size)
                if preview_bytes is not None and size > preview_bytes:
                    return
    except pyarrow.ArrowMemoryError as error:
        raise MemoryError(words_of(error)) from error
    except (BadData, MemoryError):
        raise
    except Exception as error:  # pyarrow has no common base of what it raises at a damaged file
        raise BadData(f"The Arrow file could not be read: {words_of(error)}.",
                      "It may be damaged; save it again, as Parquet or as Arrow.") from error


def _batches(file: IO[bytes]) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.ipc

    file.seek(0)
    is_file = file.read(len(_MAGIC)) == _MAGIC
    file.seek(0)
    reader = pyarrow.ipc.open_file(file) if is_file else pyarrow.ipc.open_stream(file)
    if len(reader.schema.names) > MAX_COLUMNS:
        raise BadData(f"The file has {len(reader.schema.names):,} columns; at most {MAX_COLUMNS:,} are read.",
                      "Remove those that are not needed.")
    if is_file:
        yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
    else:
        yield from reader
