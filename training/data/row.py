"""A usable row of a dataset: what every format becomes. Torch-free."""

from __future__ import annotations

from typing import Any, NamedTuple

from training.data.ratings import Ratings
from training.dialogue import Dialogue


class Row(NamedTuple):
    """A prompt with what answers it: `chosen` alone is a response that nobody compared; both are set for a pair.

    `undecided`: nobody chose between the two, or called them equal. `chosen` is then merely the first, and a judge says
    which is better. `ratings`: by aspect, that of `chosen` and that of `rejected`; None where nobody rated both.
    `reference`: the right answer to the prompt, which measures compare with; never trained on.
    """

    prompt: Dialogue
    chosen: str | None = None
    rejected: str | None = None
    undecided: bool = False
    ratings: Ratings | None = None
    reference: str | None = None

    @classmethod
    def of_json(cls, parts: list[Any]) -> Row:
        """The row that was written as a list of its fields."""
        prompt, chosen, rejected, undecided, ratings, reference = parts
        return cls(prompt, chosen, rejected, undecided,
                   ratings and {aspect: (first, second) for aspect, (first, second) in ratings.items()}, reference)
