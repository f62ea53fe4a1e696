"""Labels of a run's other principles, made by the stage that reads the pairs first: what it asks beside its own.

A local judge that reads a pair answers all principles at little more than the price of one. So the first label stage of
a run asks about its siblings too, and puts their labels into its report stream as `sibling_label` events; their own
stages, which come after it, know them. What a sibling's label was asked about stands in the event: another wording
is another principle. Left out: judges on servers, which are paid by the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.judges.pair_index import PairIndex
from training.run.artifacts import read_jsonl, write_jsonl
from training.run.event_stream import read_events
from training.run.events import HEAD
from training.run.pipeline import StagePlan


class SiblingLabels:
    """Which pairs are still to be asked about for each sibling. One byte a pair and sibling.

    An error counts as asked: the sibling's own stage asks again.
    """

    def __init__(self, pairs: PairIndex, statements: Mapping[str, str], both_orders: bool, known_labels: Path | None,
                 stream: Path) -> None:
        """`statements` are the siblings' wordings by principle; `known_labels` and `stream` are as for LabelLedger."""
        self.statements = dict(statements)
        self._both, self._pairs = both_orders, pairs
        self._asked = {principle: np.zeros(len(pairs), bool) for principle in statements}
        if not statements:
            return
        if known_labels is not None and known_labels.is_file():
            for row in read_jsonl(known_labels):
                self._replay(row)
        if stream.is_file():
            for _, event in read_events(stream, "sibling_label"):
                if event["kind"] == "sibling_label" and event["statement"] == statements.get(event["principle"]):
                    self._replay(event)

    def _replay(self, row: Mapping[str, Any]) -> None:
        position = self._pairs.position(row["pair"])
        is_half = self._both and row["probability"] is not None and row["p_swapped"] is None
        if row["principle"] in self._asked and position is not None and not is_half:
            self._asked[row["principle"]][position] = True

    def open(self, position: int) -> list[str]:
        """The principles for which a pair was not asked about yet."""
        return [principle for principle, asked in self._asked.items() if not asked[position]]

    def add(self, position: int, principle: str) -> None:
        self._asked[principle][position] = True


def labels_of_siblings(plan: StagePlan, folder: Path, earlier: Iterable[Path]) -> dict[str, Path]:
    """The stage's `known_labels` as a file in its folder, by role; none where its siblings made no label for it.

    Args:
        earlier: folders of the siblings that come before the stage (`StagePlan.after`).
    """
    statement = plan.settings.get("statement")
    streams = [path for path in (sibling / "events.jsonl" for sibling in earlier) if path.is_file()]

    def rows() -> Iterator[dict[str, Any]]:
        for stream in streams:
            for _, event in read_events(stream, "sibling_label"):
                if (event["kind"] == "sibling_label" and event["principle"] == plan.principle
                        and event["statement"] == statement and event["probability"] is not None):
                    yield {name: value for name, value in event.items() if name not in {*HEAD, "statement"}}

    if plan.kind != "label" or not streams:
        return {}
    path = folder / "files" / "known_labels.jsonl"
    write_jsonl(path, rows())
    return {"known_labels": path} if path.stat().st_size else {}
