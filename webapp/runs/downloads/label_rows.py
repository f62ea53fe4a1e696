"""The labels of a run as rows: the pair, the judge's answer with where it is from, and what people decided.

One row per pair and principle, in the order of the pairs. `decided_probability` is what preference models learn from:
the judge's probability that A is better, or a person's correction; empty where a person rejected the label.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webapp.labels.models import Label
from webapp.runs.labels_of_run import labels_of_run
from webapp.runs.models import Run

BATCH = 1000

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema([
    ("pair", pa.string()), ("prompt", MESSAGES), ("response_a", pa.string()), ("response_b", pa.string()),
    ("human_preference", pa.float64()), ("principle", pa.string()), ("statement", pa.string()),
    ("principle_version", pa.int32()), ("judge", pa.string()), ("judge_model", pa.string()),
    ("prompt_version", pa.string()), ("probability", pa.float64()), ("probability_a_first", pa.float64()),
    ("probability_b_first", pa.float64()), ("error", pa.string()), ("review", pa.string()),
    ("corrected_probability", pa.float64()), ("decided_probability", pa.float64()), ("reviewed_by", pa.string()),
    ("reviewed_at", pa.timestamp("us", tz="UTC")), ("labelled_at", pa.timestamp("us", tz="UTC"))])


def rows(run: Run) -> Iterator[dict[str, Any]]:
    """The rows of a run, read from the database a thousand at a time."""
    labels = Label.objects.of(run.team).filter(labels_of_run(run.team, run.pk)).order_by("pair_id", "pk")
    labels = labels.select_related("pair__text", "principle_version__principle", "reviewed_by")
    for label in labels.iterator(chunk_size=BATCH):
        yield _row(label)


def _row(label: Label) -> dict[str, Any]:
    pair, version = label.pair, label.principle_version
    return {
        "pair": pair.digest, "prompt": pair.text.prompt, "response_a": pair.text.response_a,
        "response_b": pair.text.response_b, "human_preference": pair.human, "principle": version.principle.name,
        "statement": version.statement, "principle_version": version.number, "judge": label.judge,
        "judge_model": label.model, "prompt_version": label.prompt_version, "probability": label.probability,
        "probability_a_first": label.p_shown, "probability_b_first": label.p_swapped, "error": label.error,
        "review": label.review, "corrected_probability": label.corrected_probability,
        "decided_probability": label.effective_probability,
        "reviewed_by": label.reviewed_by.get_username() if label.reviewed_by else None,
        "reviewed_at": label.reviewed_at.astimezone(UTC) if label.reviewed_at else None,
        "labelled_at": label.created_at.astimezone(UTC),
    }


def as_jsonl(run: Run) -> Iterator[bytes]:
    for row in rows(run):
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def as_parquet(run: Run) -> Iterator[bytes]:
    """A Parquet file, a row group at a time."""
    sink = _Drain()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, Any]] = []
        for row in rows(run):
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
                batch = []
                yield sink.drain()
        writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
    yield sink.drain()


class _Drain(io.RawIOBase):
    """A file that forgets what was taken out of it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        self._place += len(self._parts[-1])
        return len(self._parts[-1])

    def tell(self) -> int:
        return self._place

    def drain(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = b"".join(self._parts), []
        return parts
