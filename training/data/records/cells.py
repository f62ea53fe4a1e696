"""Shared by the readers of records: bounds, cells that cannot be read, and safe JSON parsing. Torch-free."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from training.errors import BadData

MAX_CELL = 1_000_000  # bytes per row or cell: a gzip of one endless line must not fill the memory
MAX_BYTES = 4_000_000_000  # decompressed
FREE_BYTES, MAX_RATIO = 100_000_000, 300  # above FREE_BYTES, the largest ratio of unpacked to packed size
MAX_COLUMNS = 1_000
MAX_BLANK_LINES = 1_000_000
MAX_DEPTH = 100  # lists and objects inside each other
TOO_LONG = f"longer than {MAX_CELL // 1_000_000} MB"
NOT_UTF8 = ("holds bytes that are not UTF-8 text, as Windows-1252 or Latin-1 writes them: save the file as UTF-8 (in "
            "Excel: 'CSV UTF-8')")

Record: TypeAlias = tuple[int, Mapping[str, Any] | str]  # number from 1, and the record or why there is none

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def check_size(unpacked_bytes: int, file_size: int) -> None:
    """Raise BadData where a file unpacks to more than is read, or to more than is plausible for its size."""
    if unpacked_bytes > MAX_BYTES:
        raise BadData("The file holds more than 4 GB of data.", "Split it and import the parts.")
    if unpacked_bytes > FREE_BYTES and unpacked_bytes > MAX_RATIO * file_size:
        raise BadData(f"The file has {file_size:,} bytes and unpacks to more than {unpacked_bytes // 1_000_000:,} MB: "
                      "the same few bytes over and over.", "Remove the repetitions, or upload it uncompressed.")


class NoRecord(str):
    """Why there is no record, with the beginning of its text."""

    raw = ""

    @classmethod
    def of(cls, reason: str, text: str) -> NoRecord:
        made = cls(reason)
        made.raw = text[:500].strip()
        return made


@dataclass(frozen=True)
class Unreadable:
    """A cell whose value cannot be read; `reason` ends a sentence that begins with the column."""

    reason: str


def is_too_deep(text: str) -> bool:
    """Whether lists and objects of a JSON text lie more than MAX_DEPTH deep in each other, strings left out."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError with the reason, also for hostile texts."""
    if is_too_deep(text):
        raise ValueError(f"lists and objects lie more than {MAX_DEPTH} deep in each other")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:  # the caller itself was deep in calls
        raise ValueError("lists and objects lie too deep in each other") from None


def _integer(digits: str) -> int | float:
    """Python refuses integers of more than 4300 digits: a column of them must not cost the row."""
    return int(digits) if len(digits) <= 4000 else float(digits)


def kind_of(value: Any) -> str:
    """The kind of a value in words, for reasons."""
    if value is None:
        return "missing"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list",
             dict: "an object", bytes: "bytes", Unreadable: "unreadable"}
    return kinds.get(type(value), type(value).__name__)


def object_or_reason(value: Any) -> Mapping[str, Any] | str:
    """A record, or why the value is none."""
    if not isinstance(value, dict):
        return f"expected an object, found {kind_of(value)}"
    return value if len(value) <= MAX_COLUMNS else f"{len(value):,} columns, and at most {MAX_COLUMNS:,} are read"


def is_utf8(text: str) -> bool:
    """Whether the text was UTF-8, after decoding with `surrogateescape`."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
