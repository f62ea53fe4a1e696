"""A usable row of a data set: what every format becomes. Torch-free."""

from __future__ import annotations

from typing import NamedTuple

from training.dialogue import Dialogue


class Row(NamedTuple):
    """A prompt with what answers it: `chosen` alone is a response that nobody compared; both are set for a pair.

    `undecided`: nobody chose between the two, or called them equal. `chosen` is then merely the first, and a judge says
    which is better.
    """

    prompt: Dialogue
    chosen: str | None = None
    rejected: str | None = None
    undecided: bool = False
