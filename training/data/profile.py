"""What a dataset holds, in numbers: lengths, turns, empty and equal responses, repeated and nearly repeated prompts.

One pass over the rows; kept of each are its lengths and a digest, of each different prompt a signature (480 bytes).
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.data_files import held_out_of
from training.data.lengths import Lengths
from training.data.near_duplicates import NearDuplicates, signature_of
from training.data.row import Row
from training.dialogue import Dialogue
from training.run.artifacts import digest_of

MOST_TURNS = 10  # bars of turns; longer dialogues are counted in the last
SHOWN_EXAMPLES = 10


def row_digest(row: Row) -> bytes:
    """Tells a row from every other: its prompt, its responses, whether one was chosen, its ratings, and its reference
    answer."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).digest()[:16]


def text_of_prompt(prompt: Dialogue) -> str:
    """The messages of a prompt as one text, whose length is the prompt's."""
    return "\n".join(message["content"] for message in prompt)


def turns_in(prompt: Dialogue) -> int:
    """Messages of a person or an assistant; a system message is none."""
    return sum(message["role"] != "system" for message in prompt)


def is_empty(row: Row, expected: int) -> bool:
    """Whether a row has fewer responses with a word in them than expected (0, 1 or 2)."""
    return sum(bool(response and response.strip()) for response in (row.chosen, row.rejected)) < expected


def is_equal(row: Row) -> bool:
    """Whether both responses are the same, but for white space."""
    return row.chosen is not None and row.rejected is not None and row.chosen.split() == row.rejected.split()


@dataclass
class Profile:
    """Rows are added in order, then `result` says what they are.

    Attributes:
        lengths: how long texts are.
        expected: responses that each row should have: 2 in a dataset of pairs, 1 of prompts with a response, else 0.
    """

    lengths: Lengths
    expected: int
    rows: int = 0
    empty: int = 0
    equal: int = 0
    repeated_rows: int = 0
    pairs: int = 0
    longer_chosen: int = 0
    shorter_chosen: int = 0
    turns: array[int] = field(default_factory=lambda: array("L"))
    of_prompts: array[int] = field(default_factory=lambda: array("L"))
    of_responses: array[int] = field(default_factory=lambda: array("L"))
    first_rows: array[int] = field(default_factory=lambda: array("L"))  # of each different prompt
    _seen_rows: set[bytes] = field(default_factory=set)
    _prompts: dict[str, int] = field(default_factory=dict)
    _signatures: bytearray = field(default_factory=bytearray)

    def add(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Count rows, each with its number."""
        self.of_prompts.extend(self.lengths([text_of_prompt(row.prompt) for _, row in rows]))
        responses = [response or "" for _, row in rows for response in (row.chosen, row.rejected)]
        counted = self.lengths(responses)
        self.of_responses.extend(count for count, text in zip(counted, responses, strict=True) if text)
        for place, (number, row) in enumerate(rows):
            self._add(number, row, counted[2 * place], counted[2 * place + 1])

    def _add(self, number: int, row: Row, chosen: int, rejected: int) -> None:
        self.rows += 1
        self.turns.append(turns_in(row.prompt))
        self.empty += is_empty(row, self.expected)
        self.equal += is_equal(row)
        if row.chosen and row.rejected and not row.undecided:
            self.pairs += 1
            self.longer_chosen += chosen > rejected
            self.shorter_chosen += chosen < rejected
        digest = row_digest(row)
        self.repeated_rows += digest in self._seen_rows
        self._seen_rows.add(digest)
        prompt = digest_of(row.prompt)
        if prompt not in self._prompts:
            self._prompts[prompt] = len(self._prompts)
            self.first_rows.append(number)
            self._signatures += signature_of(row.prompt).tobytes()

    def result(self, held_out: int) -> dict[str, Any]:
        """Everything as JSON.

        Args:
            held_out: prompts that a run keeps for evaluation, `data.held_out`.
        """
        near = NearDuplicates(self._signatures)
        repeats = list(near.repeats())
        held_out_prompts = [self._prompts[digest] for digest in held_out_of(self._prompts, held_out)] if len(
            self._prompts) > 1 else []
        return {
            "rows": self.rows, "prompts": len(self._prompts), "empty": self.empty, "equal": self.equal,
            "pairs": self.pairs, "longer_chosen": self.longer_chosen, "shorter_chosen": self.shorter_chosen,
            "repeated_rows": self.repeated_rows, "repeated_prompts": self.rows - len(self._prompts),
            "near_prompts": len(repeats),
            "near_examples": [[self.first_rows[text], self.first_rows[other], round(alike, 3)]
                              for text, other, alike in repeats[:SHOWN_EXAMPLES]],
            "held_out": len(held_out_prompts),
            "held_out_near": near.with_a_near_duplicate_outside(held_out_prompts) if held_out_prompts else 0,
            "turns": distribution(self.turns, by_value=True), "prompt_length": distribution(self.of_prompts),
            "response_length": distribution(self.of_responses)}


def distribution(values: Sequence[int], by_value: bool = False) -> dict[str, Any]:
    """Median, 95th percentile, least, most, and how many values fall into each bar.

    Percentiles are by nearest rank: the smallest value that at least that share of values does not exceed. Bars are
    [least, most, values]: of one value each up to MOST_TURNS, or of 0, 1, 2 to 3, 4 to 7, 8 to 15 and so on.
    """
    if not len(values):
        return {"values": 0, "bars": []}
    ordered = np.sort(np.asarray(values, dtype=np.int64))

    def percentile(share: float) -> int:
        return int(ordered[max(0, math.ceil(share * len(ordered)) - 1)])

    return {"values": len(ordered), "median": percentile(0.5), "p95": percentile(0.95), "least": int(ordered[0]),
            "most": int(ordered[-1]), "bars": _by_value(ordered) if by_value else _by_doubling(ordered)}


def _by_value(ordered: npt.NDArray[np.int64]) -> list[list[int]]:
    counts = np.bincount(np.minimum(ordered, MOST_TURNS))
    first, most = int(ordered[0]), int(ordered[-1])
    bars = [[value, value, int(counts[value])] for value in range(min(first, MOST_TURNS), len(counts))]
    bars[-1][1] = max(bars[-1][1], most)
    return bars


def _by_doubling(ordered: npt.NDArray[np.int64]) -> list[list[int]]:
    edges = [0, 1]
    while edges[-1] <= ordered[-1]:
        edges.append(2 * edges[-1])
    places = np.searchsorted(ordered, edges)
    bars = [[edges[n], edges[n + 1] - 1, int(places[n + 1] - places[n])] for n in range(len(edges) - 1)]
    while len(bars) > 1 and not bars[0][2]:
        bars.pop(0)
    return bars
