"""Data that comes with Concord: everyday prompts, short questions in plain English of one turn each, written for it.

They are in no particular order; a run keeps some of them for its evaluation, as of any dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.data.row import Row

SYSTEM = "Answer in one short sentence."
EVERYDAY_FILE = Path(__file__).with_name("everyday_prompts.txt")


def everyday_rows() -> Iterator[Row]:
    """The prompts, one per line of the file, as rows without responses. The system message asks for short answers: a
    small model's answer then often ends within some thirty tokens, and it is shorter than the one that its template
    would put there."""
    for text in EVERYDAY_FILE.read_text(encoding="utf-8").splitlines():
        yield Row([{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}])
