"""The labels of a run as rows: the pair, the judge's answer with where it is from, and what people decided.

One row per pair and principle, principle by principle: of the pairs that the run's label stages labelled, by their
judge. `decided_probability` is what preference models learn from: the judge's probability that A is better, or a
person's correction; empty where a person rejected the label.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC
from itertools import islice
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from training.run.artifacts import read_jsonl
from webapp.labels.models import Label
from webapp.runs.models import Run, Stage
from webapp.runs.stage_inputs import labels_of

BATCH = 500  # SQLite takes some hundred values in a query

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
    """The rows of a run, read from the database a few hundred at a time."""
    stages = Stage.objects.filter(uses__run=run, kind="label", status=Stage.Status.SUCCEEDED).order_by("uses__position")
    for stage in stages:
        labels = labels_of(team=run.team, principle=stage.principle, statement=stage.settings["statement"],
                           judge=stage.settings["judge"])
        labels = labels.select_related("pair__text", "principle_version__principle", "reviewed_by")
        pairs = _pairs_of(stage)
        while digests := list(islice(pairs, BATCH)):
            # Of two labels of a pair, from before and after its judge moved, the older one is what training takes.
            of_pair = {label.pair.digest: label for label in labels.filter(pair__digest__in=digests).order_by("-pk")}
            yield from (_row(of_pair[digest]) for digest in digests if digest in of_pair)


def _pairs_of(stage: Stage) -> Iterator[str]:
    """Digests of the pairs that a finished label stage labelled; none where its files were deleted."""
    path = stage.folder / "labels.jsonl"
    if path.is_file():
        yield from (row["pair"] for row in read_jsonl(path))


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
