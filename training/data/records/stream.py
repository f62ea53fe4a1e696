"""The bytes of a file as UTF-8, counted while they are decompressed, so that no reader gets more than it asked for."""

from __future__ import annotations

import codecs
import io
from typing import IO, Any

from training.data.records.cells import check_size
from training.errors import BadData

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


def text_stream(source: IO[bytes], file_size: int, filename: str, preview_bytes: int | None) -> io.BufferedReader:
    """A text as UTF-8, without a byte order mark.

    Args:
        source: what the file holds, unpacked as it is read.
        file_size: bytes of the file itself, to which its text must be in proportion.
        preview_bytes: a preview's bound on what is decompressed; None: MAX_BYTES.

    Raises:
        BadData: it is UTF-16 without its mark.
    """
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
