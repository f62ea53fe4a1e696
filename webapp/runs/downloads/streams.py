"""Answers that are made while they are sent, so that neither memory nor disk holds the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from zipstream import ZIP_STORED, ZipStream

AT_ONCE = 1 << 20  # bytes that are sent together


def download(chunks: Iterable[bytes], filename: str, content_type: str) -> StreamingHttpResponse:
    """An answer that a browser saves under a file name."""
    response = StreamingHttpResponse(_from_a_thread(iter(chunks)), content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def zipped(folders: Mapping[str, Path], texts: Mapping[str, str]) -> Iterator[bytes]:
    """A zip file of folders and texts by their names in it. Weights do not compress, so nothing is compressed."""
    archive = ZipStream(compress_type=ZIP_STORED)
    for name, folder in folders.items():
        archive.add_path(folder, name)
    for name, text in texts.items():
        archive.add(text, name)
    yield from archive


async def _from_a_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, made in a thread so that the server's loop stays free, and sent a megabyte at a time."""
    while part := await sync_to_async(_next_part)(chunks):
        yield part


def _next_part(chunks: Iterator[bytes]) -> bytes:
    part = bytearray()
    for chunk in chunks:
        part += chunk
        if len(part) >= AT_ONCE:
            break
    return bytes(part)
