"""A stream whose first bytes were read already, from its beginning."""

from __future__ import annotations

import io
from typing import IO, Any


class Prefixed(io.RawIOBase):
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
