"""Records of JSONL, JSON, CSV and Parquet files, one at a time, whatever the file holds. Torch-free.

An upload may be damaged or hostile: lines, rows, columns, depth and the decompressed size are bounded, and a record or
a cell that cannot be read is replaced by the reason, so that the others are not lost.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO

from training.data.records.cells import Record as Record
from training.data.records.csv_rows import csv_records
from training.data.records.json_rows import json_records
from training.data.records.parquet_rows import parquet_records
from training.data.records.stream import PreviewLimitReached, text_stream
from training.errors import BadData

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")


def read_records(file: IO[bytes], filename: str, preview_bytes: int | None = None) -> Iterator[Record]:
    """Records of an open binary file; its name tells how to read it.

    Args:
        preview_bytes: for a preview: the records end where this many decompressed bytes are read.

    Raises:
        BadData: the file as a whole cannot be read.
    """
    name = filename.lower()
    if not name.endswith(SUFFIXES):
        raise BadData(f"'{filename}' has an ending that is not known.", f"Known are {', '.join(SUFFIXES)}.")
    try:
        if name.endswith(".parquet"):
            yield from parquet_records(file, preview_bytes)
        elif ".csv" in name[-7:]:
            yield from csv_records(text_stream(file, filename, preview_bytes))
        else:
            yield from json_records(text_stream(file, filename, preview_bytes))
    except PreviewLimitReached:
        return
    except (OSError, EOFError, zlib.error) as error:
        raise BadData(f"'{filename}' could not be read: {error}.",
                      "It may be damaged or cut off; upload it again.") from error
