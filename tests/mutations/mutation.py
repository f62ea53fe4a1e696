"""What one entry of the list of `tests/mutants.py` says."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """A small fault: `old` stands exactly once in `file` and becomes `new`.

    Attributes:
        behaviour: what a user would notice to be broken, said as it should be.
        tests: the files that should notice, fast ones.
        equivalent: why nobody can notice this one, "" for a fault: it is listed and not run.
    """

    name: str
    behaviour: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""
