"""How a dataset of the field is laid out: by what it is recognised, and the function that makes rows of its records.

A format yields rows and problems: one record may hold many completions, of which one is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from training.data.messages import UnusableRow
from training.data.row import Row

Record: TypeAlias = Mapping[str, Any]
_LOOKED_AT = 50  # records that tell a layout
Numbered: TypeAlias = tuple[int, Record]  # a record with its number in the file


class Problem(NamedTuple):
    """Why a part of a record cannot be used; `number` names the record where several belong together."""

    reason: str
    number: int | None = None


Made: TypeAlias = Row | Problem


class Layout(NamedTuple):
    kind: str
    title: str  # in words, for the import page
    columns: tuple[str, ...]  # all of them must be there
    rows: Callable[[Sequence[Numbered]], Iterator[Made]]
    also: tuple[str, ...] = ()  # read as well, where they are there
    group: tuple[str, ...] = ()  # neighbours in which these columns are equal belong together
    looks: Callable[[Record], bool] | None = None  # whether a record is one of this layout, where names do not tell

    def fits(self, columns: Sequence[str], first_rows: Sequence[Record]) -> bool:
        if not set(self.columns) <= set(columns):
            return False
        return self.looks is None or any(_looks(self.looks, record) for record in first_rows[:_LOOKED_AT])

    def reads(self, columns: Sequence[str]) -> list[str]:
        """Which of these columns its rows are made of, as far as that can be told without their values."""
        return [name for name in columns if name in self.columns or name in self.also]


def _looks(looks: Callable[[Record], bool], record: Record) -> bool:
    try:
        return looks(record)
    except UnusableRow:
        return False


def each(rows_of: Callable[[Record], Iterator[Made]]) -> Callable[[Sequence[Numbered]], Iterator[Made]]:
    """The rows of records that stand by themselves."""

    def rows(records: Sequence[Numbered]) -> Iterator[Made]:
        for _, record in records:
            yield from rows_of(record)

    return rows
