"""The list of `tests/mutants.py`: faults that a test must notice, each with the behaviour that it breaks."""

from __future__ import annotations

from tests.mutations.data import DATA
from tests.mutations.engine import ENGINE
from tests.mutations.judges import JUDGES
from tests.mutations.mutation import Mutation
from tests.mutations.web import WEB
from tests.mutations.workers import WORKERS

__all__ = ["MUTATIONS", "Mutation"]

MUTATIONS: tuple[Mutation, ...] = (*ENGINE, *JUDGES, *DATA, *WEB, *WORKERS)
