"""The kept responses of a run: reads them from Parquet, chooses and orders them. No database, no requests.

Numbers of all responses are read, texts only of those that are shown, unless words are looked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from training.run.artifacts import ROLLOUTS
from webapp.runs.downloads.csv_lines import csv_line

TEXTS = ("prompt", "response")
STANDARDISED, RAW = "standardised/", "raw/"
SORTS = {"step": "Step", "reward": "Reward", "total": "Reward before clip and penalties", "kl": "KL",
         "tokens": "Length in tokens"}
"""Columns that every run can be sorted by; beside them each principle's standardised score."""

PART = 1000  # rows of a CSV file that are sent together


@dataclass(frozen=True)
class Query:
    """Which responses, and in which order.

    Attributes:
        sort: a column.
        low, high: bounds of that column.
        active: the principle that drove the reward; "" for any.
        words: what the prompt or the response has in it, whatever the case.
    """

    sort: str = "step"
    descending: bool = True
    step: int | None = None
    low: float | None = None
    high: float | None = None
    active: str = ""
    words: str = ""


class Scores(NamedTuple):
    """Standardised scores [responses, principles], the scalarized reward and the phase of each response."""

    standardised: NDArray[np.float64]
    reward: NDArray[np.float64]
    steps: NDArray[np.int64]


class Rollouts:
    """What is kept of a ppo stage; nothing where it keeps none, or has not come so far."""

    def __init__(self, stage_folder: Path) -> None:
        self._files = sorted((stage_folder / ROLLOUTS).glob("*.parquet"))

    def __bool__(self) -> bool:
        return bool(self._files)

    @cached_property
    def _dataset(self) -> Any:
        return ds.dataset(self._files, format="parquet")

    @cached_property
    def principles(self) -> list[str]:
        """Those that were scored, in the order of the reward's columns."""
        return [name.removeprefix(STANDARDISED) for name in self._dataset.schema.names if name.startswith(STANDARDISED)]

    @cached_property
    def steps(self) -> list[int]:
        """The phases whose responses are kept."""
        steps: list[int] = pc.unique(self._dataset.to_table(columns=["step"])["step"]).sort().to_pylist()
        return steps

    @property
    def count(self) -> int:
        return int(self._dataset.count_rows())

    def sorts(self) -> dict[str, str]:
        """What they can be sorted by, in words."""
        return SORTS | {f"{STANDARDISED}{name}": name for name in self.principles}

    def order(self, query: Query) -> pa.Array:
        """The places of the chosen responses, in order; of equal ones the earlier come first."""
        columns = {"step", "active", query.sort} | set(TEXTS if query.words else ())
        table = self._dataset.to_table(columns=sorted(columns))
        table = table.append_column("place", pa.array(range(len(table)), pa.int64()))
        table = table.filter(_condition(query))
        keys = [(query.sort, "descending" if query.descending else "ascending"), ("place", "ascending")]
        return table.sort_by(keys)["place"].combine_chunks()

    def scores(self) -> Scores:
        """The numbers of all responses, in the order in which they came."""
        columns = [f"{STANDARDISED}{name}" for name in self.principles]
        table = self._dataset.to_table(columns=["step", "total", *columns])
        return Scores(np.stack([table[name].to_numpy() for name in columns], axis=1).astype(np.float64),
                      table["total"].to_numpy().astype(np.float64), table["step"].to_numpy().astype(np.int64))

    def rows(self, places: pa.Array) -> list[dict[str, Any]]:
        """Responses with all that is known of them; scores under "scores", {principle: {"raw", "standardised"}}."""
        return [self._row(values) for values in self._dataset.take(places).to_pylist()]

    def _row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        scores = {name: {"raw": values[f"{RAW}{name}"], "standardised": values[f"{STANDARDISED}{name}"]}
                  for name in self.principles}
        return {name: value for name, value in values.items() if "/" not in name} | {"scores": scores}

    def parquet(self, places: pa.Array) -> Iterator[bytes]:
        """A Parquet file of the chosen responses, in order."""
        file = io.BytesIO()
        pq.write_table(self._dataset.take(places), file, compression="zstd")
        yield file.getvalue()

    def csv(self, places: pa.Array) -> Iterator[bytes]:
        """A CSV file of the chosen responses, in order; no cell of it is a formula."""
        names = self._dataset.schema.names
        yield csv_line(names)
        for start in range(0, len(places), PART):
            for values in self._dataset.take(places[start:start + PART]).to_pylist():
                yield csv_line([values[name] for name in names])


def _condition(query: Query) -> Any:
    """What a response must fulfil, as an expression over its columns."""
    conditions = [ds.field("step") >= 0]
    if query.step is not None:
        conditions.append(ds.field("step") == query.step)
    if query.active:
        conditions.append(ds.field("active") == query.active)
    if query.low is not None:
        conditions.append(ds.field(query.sort) >= query.low)
    if query.high is not None:
        conditions.append(ds.field(query.sort) <= query.high)
    if query.words:
        prompt, response = (pc.match_substring(ds.field(name), query.words, ignore_case=True) for name in TEXTS)
        conditions.append(prompt | response)
    expression = conditions[0]
    for condition in conditions[1:]:
        expression &= condition
    return expression
