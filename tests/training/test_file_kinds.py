"""Files of every kind, packing and encoding hold the same rows; what cannot be unpacked says why."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from training.data.data_files import Row, read_rows
from training.data.reader_process import preview_in_subprocess, read_rows_in_subprocess
from training.errors import BadData

RECORDS = [{"prompt": f"Welcher Vogel, № {n}?", "chosen": f"Der Reiher, {n}.", "rejected": "Geh weg."}
           for n in range(40)]
ROWS = [Row([{"role": "user", "content": record["prompt"]}], record["chosen"], record["rejected"])
        for record in RECORDS]


def separated(by: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(RECORDS[0]), delimiter=by)
    writer.writeheader()
    writer.writerows(RECORDS)
    return out.getvalue().encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), out)
    return out.getvalue()


def arrow(is_file: bool) -> bytes:
    table, out = pyarrow.Table.from_pylist(RECORDS), io.BytesIO()
    new = pyarrow.ipc.new_file if is_file else pyarrow.ipc.new_stream
    with new(out, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression="zstd" if is_file else None)) as writer:
        writer.write_table(table, max_chunksize=7)
    return out.getvalue()


def zstandard(body: bytes) -> bytes:
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(body)
    return bytes(out.getvalue())


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in files.items():
            packed.writestr(name if "/" in name else name.replace("__", "."), body)
    return out.getvalue()


def zipped(body: bytes, ending: str) -> bytes:
    return archive(**{f"data__{ending}": body, "__MACOSX/._data": b"x"}) if ending else archive(a=body, b=body)


LINES = "\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS)
KINDS: dict[str, Callable[[], bytes]] = {
    "jsonl": LINES.encode, "json": lambda: json.dumps(RECORDS, indent=1).encode(), "csv": lambda: separated(","),
    "tsv": lambda: separated("\t"), "parquet": parquet, "arrow": lambda: arrow(True)}
PACKED: dict[str, Callable[[bytes, str], bytes]] = {
    "": lambda body, _: body, ".gz": lambda body, _: gzip.compress(body), ".zst": lambda body, _: zstandard(body),
    ".xz": lambda body, _: lzma.compress(body), ".zip": zipped}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_packing_holds_the_same_rows(kind: str, packing: str) -> None:
    body = PACKED[packing](KINDS[kind](), kind)
    assert list(read_rows(io.BytesIO(body), f"Data.{kind}{packing}")) == ROWS


@pytest.mark.parametrize("name", ["data.tsv.zst", "data.arrow.zip", "data.parquet.xz", "data.jsonl.zst"])
def test_the_limited_process_reads_them_too(name: str, tmp_path: Path) -> None:
    _, kind, packing = name.split(".")
    path = tmp_path / name
    path.write_bytes(PACKED[f".{packing}"](KINDS[kind](), kind))
    assert list(read_rows_in_subprocess(path, name)) == ROWS
    assert preview_in_subprocess(path, name).rows == ROWS[:20]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["jsonl", "tsv"])
def test_text_with_a_byte_order_mark(encoding: str, ending: str) -> None:
    body = KINDS[ending]().decode().encode(encoding)
    for packing, pack in PACKED.items():
        assert list(read_rows(io.BytesIO(pack(body, ending)), f"data.{ending}{packing}")) == ROWS


def test_streams_of_arrow_names_in_zips_and_packings_that_the_name_hides() -> None:
    assert list(read_rows(io.BytesIO(arrow(False)), "data.arrow")) == ROWS
    assert list(read_rows(io.BytesIO(zipped(parquet(), "parquet")), "rows.zip")) == ROWS
    assert list(read_rows(io.BytesIO(zstandard(LINES.encode() + b"\n") * 2), "data.jsonl")) == ROWS * 2
    assert list(read_rows(io.BytesIO(lzma.compress(LINES.encode() + b"\n") * 2), "data.jsonl")) == ROWS * 2


REFUSED: list[tuple[str, bytes, str]] = [
    ("data.zip", zipped(b"", ""), "holds 2 files"),
    ("data.zip", archive(), "holds 0 files"),
    ("data.zip", archive(notes__txt=b"x"), "'notes.txt', whose ending is not known"),
    ("data.jsonl.zip", b"no archive", "could not be unpacked"),
    ("data.jsonl.zip", archive(data__jsonl=LINES.encode())[:-200], "could not be unpacked"),
    ("data.jsonl.zst", zstandard(LINES.encode())[:-9], "could not be read"),
    ("data.jsonl.zst", b"no zstandard", "could not be read"),
    ("data.jsonl.xz", lzma.compress(LINES.encode())[:-20], "could not be read"),
    ("data.jsonl", archive(data__jsonl=b"{}"), "whatever its name says"),
    ("data.arrow", b"ARROW1\0\0nothing", "Arrow file could not be read"),
    ("data.arrow", arrow(True)[:-40], "Arrow file could not be read"),
    ("data.arrow", b"", "Arrow file could not be read"),
    ("data.docx", b"", "Known are .jsonl, .json, .csv, .tsv, .parquet and .arrow, each also with .gz, .zst, .xz or"),
]


@pytest.mark.parametrize(("name", "body", "reason"), REFUSED)
def test_what_cannot_be_unpacked_or_read_says_why(name: str, body: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        list(read_rows(io.BytesIO(body), name))
