"""The reference answer of a row: what its dataset says is the right answer to the prompt. Torch-free.

Measures compare responses with it. A column is taken for it by its name only if it holds single texts or numbers, and
only if nothing else of the row is read from it: in a file of questions and answers the answer is a response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.data.messages import UnusableRow
from training.data.records.cells import kind_of
from training.text import unstorable_reason

ROLE = "reference"
MOST_CHARACTERS = 20_000
_COLUMNS = ("reference", "reference_answer", "ground_truth", "gold_answer", "answer", "solution", "target")


def reference_column(columns: Sequence[str], first_rows: Sequence[Mapping[str, Any]]) -> str:
    """The column that by its name and its first values holds reference answers; "" where there is none.

    Args:
        columns: names of the columns that nothing else is read from.
    """
    return next((name for name in _COLUMNS if name in columns and _may_be(name, first_rows)), "")


def _may_be(name: str, first_rows: Sequence[Mapping[str, Any]]) -> bool:
    values = [row.get(name) for row in first_rows]
    return all(value is None or _as_text(value) is not None for value in values) and any(map(_is_given, values))


def _is_given(value: Any) -> bool:
    return value is not None and bool(_as_text(value))


def reference_at(record: Mapping[str, Any], column: str | None) -> str | None:
    """The reference answer of a record, without white space around it; None where it is missing or blank.

    Raises:
        UnusableRow: there is something else than a text or a number, or one that cannot be kept.
    """
    value = record.get(column) if column else None
    if value is None:
        return None
    text = _as_text(value)
    if text is None:
        if isinstance(value, str):
            raise UnusableRow(f"the reference answer in column '{column}' has {len(value):,} characters; at most "
                              f"{MOST_CHARACTERS:,} are kept")
        raise UnusableRow(f"column '{column}' is {kind_of(value)}, not a reference answer in text")
    if reason := unstorable_reason(text):
        raise UnusableRow(f"the reference answer {reason}")
    return text or None


def _as_text(value: Any) -> str | None:
    """A text or a number as text, stripped; None for anything else, and for what is too long."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    return text if len(text) <= MOST_CHARACTERS else None
