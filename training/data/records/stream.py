"""The bytes of a file as UTF-8, decompressed and counted, so that no reader gets more than it asked for."""

from __future__ import annotations

import codecs
import gzip
import io
import os
from typing import IO, Any, cast

from training.data.records.cells import check_size
from training.errors import BadData

_GZIP, _PACKED, _OLD_EXCEL = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
          (codecs.BOM_UTF16_BE, "utf-16"))


class PreviewLimitReached(Exception):
    """The byte limit of a preview is reached."""


class _Counted(io.RawIOBase):
    """Counts the bytes read; beyond the limit, BadData, or PreviewLimitReached for a preview."""

    def __init__(self, source: IO[bytes], file_size: int, preview_bytes: int | None) -> None:
        self._source = source
        self._file_size = file_size
        self._preview_bytes = preview_bytes
        self._total = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._total += len(data)
        if self._preview_bytes is not None and self._total > self._preview_bytes:
            raise PreviewLimitReached
        check_size(self._total, self._file_size)
        buffer[: len(data)] = data
        return len(data)


class _Recoded(io.RawIOBase):
    """A file in another encoding as UTF-8; what is wrong in it stays wrong, for the reader to name."""

    def __init__(self, source: IO[bytes], encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="surrogatepass")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            data = self._source.read(len(buffer))
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise BadData(f"The file begins as {error.encoding} text and goes on as something else.",
                              "Save it as UTF-8.") from error
            self._rest = text.encode("utf-8", errors="surrogatepass")
            if not data:
                break
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer):]
        buffer[: len(part)] = part
        return len(part)


class Prefixed(io.RawIOBase):
    """A stream whose first bytes were read already, from its beginning."""

    def __init__(self, prefix: bytes, source: IO[bytes]) -> None:
        self._prefix = prefix
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self._prefix = self._prefix[: len(buffer)], self._prefix[len(buffer):]
        data = data or self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def text_stream(file: IO[bytes], filename: str, preview_bytes: int | None) -> io.BufferedReader:
    """The text of a file as UTF-8, without a byte order mark; a gzip is known by its first bytes, whatever its name.

    Args:
        preview_bytes: a preview's bound on what is decompressed; None: MAX_BYTES.

    Raises:
        BadData: it is a ZIP archive or an Excel workbook, or UTF-16 without its mark.
    """
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4)
    source = cast("IO[bytes]", io.BufferedReader(Prefixed(start, file)))
    if start.startswith(_GZIP) or filename.lower().endswith(".gz"):
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=source))
    elif start.startswith((_PACKED, _OLD_EXCEL)):
        raise BadData(f"'{filename}' is a ZIP archive or an Excel workbook, whatever its name says.",
                      "Unpack it, or save the sheet as CSV (UTF-8).")
    counted: io.BufferedReader = io.BufferedReader(_Counted(source, file_size, preview_bytes))
    beginning = counted.peek(4)
    for mark, encoding in _MARKS:
        if beginning.startswith(mark):
            return io.BufferedReader(_Recoded(counted, encoding))
    if beginning.startswith(codecs.BOM_UTF8):
        counted.read(len(codecs.BOM_UTF8))
    elif max(beginning[:200:2].count(0), beginning[1:200:2].count(0)) > 0.4 * len(beginning[:200:2]):
        raise BadData(f"'{filename}' looks like UTF-16 text without a byte order mark.", "Save it as UTF-8.")
    return counted
