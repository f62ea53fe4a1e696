"""The key-value cache of a batch that rows join and leave between two steps of decoding.

All rows end at the same column, so a step writes one column, and a row is what stands before it: padding at the left,
which every family understands that decodes in batches. Buffers have room for every token that the rows may still get,
which is settled when a row joins: a step allocates nothing here. A row that leaves is replaced by the last one, and the
columns that only it had are no longer shown. Left out: pages shared by rows with the same beginning.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

COLUMN_STEP = 64
"""Columns of the buffers are a multiple of this, so that few joins have to copy what is there."""


class _Columns:
    """Which part of the buffers is in use; all layers share it."""

    def __init__(self) -> None:
        self.rows = self.first = self.end = 0


class _Layer(DynamicLayer):
    """Keys and values of one layer, [places, heads, columns, width]; a new token goes into the column at the end."""

    def __init__(self, columns: _Columns, buffers: list[Tensor]) -> None:
        super().__init__()
        self.buffers, self._columns = buffers, columns
        self.lazy_initialization(*buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        used = self._columns
        for buffer, state in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:used.rows, :, used.end:used.end + 1] = state
        keys, values = (buffer[:used.rows, :, used.first:used.end + 1] for buffer in self.buffers)
        return keys, values

    def get_seq_length(self) -> int:
        return self._columns.end - self._columns.first


class SharedCache:
    """What the model has read of each running row.

    Attributes:
        lengths: tokens of each row that are in the cache, in the order of the buffers' places.
        cache: what the model is given for a step.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._remaining: list[int] = []  # tokens that each row may still add
        self._columns = _Columns()
        self.cache = Cache(layers=[])

    def join(self, read: Cache, row: int, length: int, remaining: int, followers: int = 0) -> None:
        """Take in a row, as the last one.

        Args:
            read: keys and values of prompts that were read together.
            row: which of them; its tokens are the last `length` columns.
            remaining: the most tokens that it will add.
            followers: how many rows will be taken in next, for which there should be places.

        Raises:
            whatever the device says when it has no memory; nothing has changed then.
        """
        end = max([*self.lengths, length])
        self._make_room(read, end, end + max([*self._remaining, remaining]), followers)
        used, place = self._columns, len(self.lengths)
        for layer, own in zip(self.cache.layers, read.layers, strict=True):
            for buffer, state in zip(layer.buffers, (own.keys, own.values), strict=True):
                buffer[place, :, :used.end - length] = 0  # padding is masked, but must be finite
                buffer[place, :, used.end - length:used.end] = state[row, :, -length:]
        self.lengths.append(length)
        self._remaining.append(remaining)
        self._show()

    def leave(self, place: int) -> None:
        """Take out a row; the last one takes its place."""
        last = len(self.lengths) - 1
        if place != last:
            for layer in self.cache.layers:
                for buffer in layer.buffers:
                    buffer[place] = buffer[last]
        for column in (self.lengths, self._remaining):
            column[place] = column[last]
            column.pop()
        if not self.lengths:  # the memory goes back
            self._columns, self.cache = _Columns(), Cache(layers=[])
        self._show()

    def attention(self) -> Tensor:
        """1 on tokens and 0 on padding, [rows, columns shown and the new one], on the CPU."""
        width = self._columns.end - self._columns.first
        starts = width - torch.tensor(self.lengths, dtype=torch.int64)
        return (torch.arange(width + 1) >= starts.unsqueeze(1)).long()

    def advance(self) -> None:
        """A step has written a column: every row has one token more."""
        self._columns.end += 1
        self.lengths = [length + 1 for length in self.lengths]
        self._remaining = [remaining - 1 for remaining in self._remaining]

    def _show(self) -> None:
        self._columns.rows = len(self.lengths)
        self._columns.first = self._columns.end - max(self.lengths, default=0)

    def _make_room(self, read: Cache, end: int, capacity: int, followers: int) -> None:
        """Buffers in which one row more fits and all rows reach `end` at least, and at most `capacity`."""
        used, rows, layers = self._columns, len(self.lengths), self.cache.layers
        places, columns = (layers[0].buffers[0].shape[0], layers[0].buffers[0].shape[2]) if layers else (0, 0)
        if rows < places and used.end >= end and used.end - end + capacity <= columns:
            return
        places = max(places, 1 << (rows + followers).bit_length())
        columns = -(-capacity // COLUMN_STEP) * COLUMN_STEP
        width = used.end - used.first
        moved = []
        for index, own in enumerate(read.layers):
            buffers = []
            for which, state in enumerate((own.keys, own.values)):
                buffer = state.new_empty(places, state.shape[1], columns, state.shape[3])
                if rows:
                    buffer[:rows, :, :end - width] = 0
                    buffer[:rows, :, end - width:end] = layers[index].buffers[which][:rows, :, used.first:used.end]
                buffers.append(buffer)
            moved.append(buffers)
        used.first, used.end = end - width, end
        self.cache = Cache(layers=[_Layer(used, buffers) for buffers in moved])
