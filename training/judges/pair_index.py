"""Which pairs of a file are to be labelled, in 16 bytes per pair: their keys and file offsets, never their texts.

A pair is known by the last 64 bits of its digest: among a million pairs, two that share them are a chance of one in
thirty million. Left out: files that change while they are read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from training.run.artifacts import digest_of


def key_of(digest: str) -> int:
    """The last 64 bits of a digest of at least 16 hex digits."""
    return int(digest[-16:], 16)


class PairIndex:
    """The chosen pairs of a JSONL file, each once, by their position: 0, 1, 2 ... in file order."""

    def __init__(self, path: Path, most: int | None = None, seed: int = 0) -> None:
        """Choose at most `most` pairs, the same ones for every principle; equal responses are no pair.

        Which ones are chosen follows from the seed and the pairs' digests alone, not from their order.
        """
        self._path = path
        keys, places, ranks = array("Q"), array("q"), array("Q")
        for place, line in _lines(path):
            row = orjson.loads(line)
            if row["a"] != row["b"]:
                keys.append(key_of(row["digest"]))
                places.append(place)
                if most is not None:
                    ranks.append(int(digest_of([seed, row["digest"]])[:16], 16))
        unique_keys, first_rows = np.unique(np.frombuffer(keys, np.uint64) if keys else np.empty(0, np.uint64),
                                            return_index=True)
        if most is not None and len(first_rows) > most:
            first_rows = first_rows[np.argsort(np.frombuffer(ranks, np.uint64)[first_rows], kind="stable")[:most]]
        first_rows.sort()
        self._places = np.frombuffer(places, np.int64)[first_rows] if places else np.empty(0, np.int64)
        chosen = np.frombuffer(keys, np.uint64)[first_rows] if keys else unique_keys
        self._order = np.argsort(chosen, kind="stable").astype(np.int32)
        self._keys = chosen[self._order]

    def __len__(self) -> int:
        return len(self._places)

    def position(self, digest: str) -> int | None:
        """The position of a pair, None if it is not among the chosen ones."""
        key = np.uint64(key_of(digest))
        at = int(np.searchsorted(self._keys, key))
        return int(self._order[at]) if at < len(self._keys) and self._keys[at] == key else None

    def rows(self, is_wanted: Callable[[int], bool] = lambda position: True) -> Iterator[tuple[int, dict[str, Any]]]:
        """Positions and rows of the wanted pairs, read lazily; `is_wanted` is called when a pair's turn comes."""
        with self._path.open("rb") as file:
            for position, place in enumerate(self._places):
                if is_wanted(position):
                    file.seek(place)
                    yield position, orjson.loads(file.readline())

    def rows_of(self, digests: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The rows of those pairs that are here."""
        with self._path.open("rb") as file:
            for digest in digests:
                position = self.position(digest)
                if position is not None:
                    file.seek(int(self._places[position]))
                    yield orjson.loads(file.readline())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    place = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield place, line
            place += len(line)
