"""What a packed file holds: gzip, Zstandard, xz, and ZIP archives with one file. Torch-free.

The first three are known by their first bytes, whatever the name. Nothing here bounds how much comes out: who reads
counts (`records.stream`).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, cast

from training.data.records.cells import check_size
from training.data.records.prefixed import Prefixed
from training.errors import BadData

PACKINGS = (".gz", ".zst", ".xz", ".zip")
MAX_ON_DISK = 1_000_000_000  # bytes of a packed file that is read in jumps, and so unpacked beside it
_GZIP, _ZSTD, _XZ, _ZIP, _OLD_EXCEL = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zX", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_CHUNK = 1 << 20


def unpacked(file: IO[bytes], filename: str) -> tuple[IO[bytes], str]:
    """The bytes of a file without its packing, and its name without the packing's ending.

    Raises:
        BadData: it is a ZIP archive without that name or with several files, or an Excel workbook.
    """
    file.seek(0)
    start = file.read(4)
    name, packing = _split(filename)
    if packing == ".zip":
        return _only_file(file, filename)
    source = cast("IO[bytes]", io.BufferedReader(Prefixed(start, file)))
    if start.startswith(_GZIP) or packing == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=source)), name
    if start == _ZSTD or packing == ".zst":
        return _zstandard(source), name
    if start == _XZ or packing == ".xz":
        return cast("IO[bytes]", lzma.LZMAFile(source)), name
    if start in (_ZIP, _OLD_EXCEL):
        raise BadData(f"'{filename}' is a ZIP archive or an Excel workbook, whatever its name says.",
                      "Give an archive a name that ends in .zip, or save the sheet as CSV (UTF-8).")
    file.seek(0)
    return file, name


@contextlib.contextmanager
def on_disk(source: IO[bytes], file_size: int) -> Iterator[IO[bytes]]:
    """What a packed file of `file_size` bytes holds as a file that can be read in jumps."""
    size = 0
    with tempfile.TemporaryFile(prefix="concord-unpacked-") as out:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            check_size(size, file_size)
            if size > MAX_ON_DISK:
                raise BadData("The packed file holds more than 1 GB of Parquet or Arrow.",
                              "Upload it without the packing: Parquet is compressed inside.")
            out.write(chunk)
        out.seek(0)
        yield cast("IO[bytes]", out)


def _split(filename: str) -> tuple[str, str]:
    lower = filename.lower()
    packing = next((ending for ending in PACKINGS if lower.endswith(ending)), "")
    return lower.removesuffix(packing), packing


def _zstandard(source: IO[bytes]) -> IO[bytes]:
    import pyarrow

    return cast("IO[bytes]", pyarrow.CompressedInputStream(pyarrow.PythonFile(source, mode="r"), "zstd"))


def _only_file(file: IO[bytes], filename: str) -> tuple[IO[bytes], str]:
    """The one file of an archive, and its name; what macOS adds does not count."""
    file.seek(0)
    try:
        archive = zipfile.ZipFile(file)
        names = [entry.filename for entry in archive.infolist()
                 if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")]
        if len(names) != 1:
            raise BadData(f"'{filename}' holds {len(names):,} files.", "Pack one file, or upload them one by one.")
        return archive.open(names[0]), names[0].lower()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # the last: it is encrypted
        raise BadData(f"'{filename}' could not be unpacked: {str(error)[:200].rstrip('.')}.",
                      "Pack it again, without a password, or upload the file itself.") from error
