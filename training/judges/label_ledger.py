"""What a label stage has bought: which pairs are done, which in one order only, at what cost. One byte per pair.

Rows stay in the files that they came from: labels that the team had before (`known_labels`), and the stage's own report
stream. They are read twice, at the start to know what is missing and at the end to write labels.jsonl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from training.judges.judge import Answer, answer_of
from training.judges.pair_index import PairIndex
from training.judges.protocol import FAILURES, failure_kind
from training.judges.spending import Spending
from training.quality.calibration import DECIDED
from training.quality.label_verdict import LabelVerdict
from training.run.event_stream import read_events
from training.run.events import HEAD, AnswerEvent, LabelBody


class LabelLedger:
    """The labels of one principle for the pairs of an index.

    Attributes:
        done: whether a pair has its label, by position. erred: whether it has an error instead.
        awaiting_second_order: by position, the answer to the first order where the second is missing.
        spent: what this stage has paid, earlier attempts included.
        failures: errors by kind and by reason.
        with_both: labels with the answers to both orders.
    """

    def __init__(self, pairs: PairIndex, principle: str, both_orders: bool, known_labels: Path | None,
                 stream: Path) -> None:
        self._pairs, self._principle, self._both = pairs, principle, both_orders
        self._sources = [path for path in (known_labels, stream) if path is not None and path.is_file()]
        self._stream = stream
        self.done = np.zeros(len(pairs), bool)
        self.erred = np.zeros(len(pairs), bool)
        self.awaiting_second_order: dict[int, Answer] = {}
        self.spent = Spending()
        self.failures: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.count = 0
        self._usable = self._decided = self.with_both = self._flips = 0
        self._confidence_sum = self._confidence_squares = 0.0
        for path in self._sources:
            if path != stream:
                for _, label in self._labels(path):
                    self._replay(label)
                continue
            for _, event in read_events(path, "label", "answer"):
                if event["kind"] == "answer":
                    self._replay_first_order(event)
                elif event["kind"] == "label" and event["principle"] == principle:
                    tokens_in = event["tokens_in"]
                    self.spent.add(event["calls"], tokens_in, event["tokens"] - tokens_in, event["chars"])
                    self._replay(event)
        for answer in self.awaiting_second_order.values():  # paid for, with no label yet that would say so
            self.spent.add(answer.calls, answer.tokens_in, answer.tokens_out, answer.chars)

    def _labels(self, path: Path) -> Iterator[tuple[int, LabelBody]]:
        """Places and rows of the principle's labels in a file."""
        if path == self._stream:
            for place, event in read_events(path, "label"):
                if event["kind"] == "label" and event["principle"] == self._principle:
                    yield place, event
            return
        place = 0
        with path.open("rb") as file:
            for line in file:
                row: LabelBody | None = orjson.loads(line) if line.strip() else None
                if row and row["principle"] == self._principle:
                    yield place, row
                place += len(line)

    def _replay_first_order(self, event: AnswerEvent) -> None:
        position = self._pairs.position(event["pair"])
        if position is not None and not self.done[position] and event["probability"] is not None:
            self.awaiting_second_order[position] = answer_of(event)

    def _replay(self, row: LabelBody) -> None:
        position = self._pairs.position(row["pair"])
        if position is None:
            return
        if row["probability"] is None:
            # The first order may have been answered all the same; its price is in the label's.
            if position in self.awaiting_second_order:
                first = self.awaiting_second_order[position]
                self.awaiting_second_order[position] = first._replace(tokens_in=0, tokens_out=0, calls=0, chars=0)
        elif self._both and row["p_swapped"] is None:
            self.awaiting_second_order[position] = Answer(row["p_shown"], model=row.get("model", ""))
        else:
            self.awaiting_second_order.pop(position, None)
            self._take(position, row)

    def add(self, position: int, label: LabelBody) -> None:
        """A label that was just bought, or its error."""
        self.awaiting_second_order.pop(position, None)
        if label["probability"] is None:
            self.erred[position] = True
            self.failures[failure_kind(label["error"])] += 1
            self.reasons[label["error"] if len(self.reasons) < 1000 else "other"] += 1
            self.count += 1
        else:
            self._take(position, label)

    def _take(self, position: int, label: LabelBody) -> None:
        if self.done[position]:
            return
        self.done[position] = True
        self.count += 1
        probability, shown, swapped = label["probability"], label["p_shown"], label["p_swapped"]
        self._usable += 1
        if probability is not None:
            confidence = max(probability, 1 - probability)
            self._confidence_sum += confidence
            self._confidence_squares += confidence * confidence
            self._decided += confidence - 0.5 >= DECIDED
        if shown is not None and swapped is not None:
            self.with_both += 1
            self._flips += (shown - 0.5) * (swapped - 0.5) < 0

    def open(self, position: int) -> bool:
        """Whether a pair is still to be judged in this attempt."""
        return not (self.done[position] or self.erred[position])

    def summary(self) -> dict[str, float]:
        """`label/done`, the mean `label/confidence` max(p, 1 - p), the `label/flip_rate` (orders that disagree), what
        was bought in this stage, and failures by kind."""
        values = {"label/done": float(self.count)}
        if self._usable:
            values["label/confidence"] = self._confidence_sum / self._usable
        if self.with_both:
            values["label/flip_rate"] = self._flips / self.with_both
        if self.spent.calls:
            values |= {"label/calls": float(self.spent.calls), "label/tokens_in": float(self.spent.tokens_in),
                       "label/tokens_out": float(self.spent.tokens_out), "label/chars": float(self.spent.chars)}
        return values | {f"label/failed/{kind}": float(self.failures[kind]) for kind in FAILURES if self.failures[kind]}

    def verdict(self) -> LabelVerdict:
        """The counts by which the judge's labels are judged."""
        return LabelVerdict(self._usable, self._decided, self._confidence_sum, self._confidence_squares,
                            self.with_both, self._flips)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The labels in the order of the pairs, errors included, as they stand in their files."""
        places = np.full(len(self._pairs), -1, np.int64)
        source = np.zeros(len(self._pairs), np.int8)
        usable = np.zeros(len(self._pairs), bool)
        for number, path in enumerate(self._files()):
            for place, row in self._labels(path):
                position = self._pairs.position(row["pair"])
                if position is None or usable[position]:
                    continue
                places[position], source[position] = place, number
                usable[position] = row["probability"] is not None and not (self._both and row["p_swapped"] is None
                                                                         and self._stream != path)
        files = [path.open("rb") for path in self._files()]
        try:
            for position in range(len(places)):
                if places[position] >= 0:
                    file = files[source[position]]
                    file.seek(places[position])
                    row = orjson.loads(file.readline())
                    yield {name: value for name, value in row.items() if name not in HEAD}
        finally:
            for file in files:
                file.close()

    def _files(self) -> list[Path]:
        return list(dict.fromkeys([*self._sources, self._stream]))
