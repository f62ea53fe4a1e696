"""Records of JSONL, JSON, CSV, TSV, Parquet and Arrow files, packed or not, one at a time, whatever they hold.
Torch-free.

An upload may be damaged or hostile: lines, rows, columns, depth and the decompressed size are bounded, and a record or
a cell that cannot be read is replaced by the reason, so that the others are not lost.
"""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from training.data.records.arrow_rows import arrow_records
from training.data.records.cells import Record as Record
from training.data.records.csv_rows import csv_records
from training.data.records.json_rows import json_records
from training.data.records.parquet_rows import parquet_records
from training.data.records.stream import PreviewLimitReached, text_stream
from training.data.records.unpacking import PACKINGS, on_disk, unpacked
from training.errors import BadData

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
SUFFIXES = (*(ending + packing for packing in ("", *PACKINGS) for ending in ENDINGS), ".zip")
KNOWN = f"{', '.join(ENDINGS[:-1])} and {ENDINGS[-1]}, each also with {', '.join(PACKINGS[:-1])} or {PACKINGS[-1]}"


def read_records(file: IO[bytes], filename: str, preview_bytes: int | None = None) -> Iterator[Record]:
    """Records of an open binary file; its name tells how to read it.

    Args:
        preview_bytes: for a preview: the records end where this many decompressed bytes are read.

    Raises:
        BadData: the file as a whole cannot be read.
    """
    if not filename.lower().endswith(SUFFIXES):
        raise BadData(f"'{filename}' has an ending that is not known.", f"Known are {KNOWN}.")
    try:
        file_size = file.seek(0, os.SEEK_END)
        source, name = unpacked(file, filename)
        if name.endswith((".parquet", ".arrow")) and source is not file:
            with on_disk(source, file_size) as source:
                yield from _records(source, file_size, name, preview_bytes)
        else:
            yield from _records(source, file_size, name, preview_bytes)
    except PreviewLimitReached:
        return
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise BadData(f"'{filename}' could not be read: {error}.",
                      "It may be damaged or cut off; upload it again.") from error


def _records(source: IO[bytes], file_size: int, name: str, preview_bytes: int | None) -> Iterator[Record]:
    """Records of what a file holds, by the name that it has without its packing."""
    if not name.endswith(ENDINGS):
        raise BadData(f"The archive holds '{name[:100]}', whose ending is not known.", f"Known are {KNOWN}.")
    if name.endswith(".parquet"):
        yield from parquet_records(source, preview_bytes)
    elif name.endswith(".arrow"):
        yield from arrow_records(source, preview_bytes)
    elif name.endswith((".csv", ".tsv")):
        text = text_stream(source, file_size, name, preview_bytes)
        yield from csv_records(text, "\t" if name.endswith(".tsv") else "")
    else:
        yield from json_records(text_stream(source, file_size, name, preview_bytes))
