"""Values that a record of a known format must hold: texts, numbers, lists and objects, also written out as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from training.data.messages import UnusableRow
from training.data.records.cells import Unreadable, kind_of, parse_json


def value_of(record: Mapping[str, Any], name: str) -> Any:
    """A value of a record, None where it is missing; lists and objects that a CSV cell spells as JSON are read."""
    value = record.get(name)
    if isinstance(value, Unreadable):
        raise UnusableRow(f"column '{name}' {value.reason}")
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return parse_json(value)
        except ValueError:
            return value
    return value


def text_at(record: Mapping[str, Any], name: str) -> str:
    """A text that may be empty."""
    value = record.get(name)
    if isinstance(value, Unreadable):
        raise UnusableRow(f"column '{name}' {value.reason}")
    if not isinstance(value, str):
        raise UnusableRow(f"'{name}' is {kind_of(value)}, not text")
    return value


def number_at(record: Mapping[str, Any], name: str) -> float | None:
    """A number, also as text; None where there is none, as in "N/A"."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def object_at(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = value_of(record, name)
    if not isinstance(value, Mapping):
        raise UnusableRow(f"'{name}' is {kind_of(value)}, not an object")
    return value


def objects_at(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects. The hub's library writes it as an object of lists."""
    value = value_of(record, name)
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        value = [dict(zip(value, cells, strict=False)) for cells in zip(*value.values(), strict=False)]
    if not isinstance(value, list):
        raise UnusableRow(f"'{name}' is {kind_of(value)}, not a list")
    for item in value:
        if not isinstance(item, Mapping):
            raise UnusableRow(f"'{name}' holds {kind_of(item)}, not an object")
    return value
