"""The table of runs as a file: every run that matches, in the order and with the columns of the page.

A column of the page that is more than a value becomes several: the win rate with its interval, the weight of each
principle, and the last reward in place of its sparkline.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from django.db.models import QuerySet

from webapp.accounts.models import Team
from webapp.runs.downloads.csv_lines import csv_line
from webapp.runs.models import Run
from webapp.runs.run_values import Values
from webapp.runs.table.columns import Column, values_by_run
from webapp.runs.table.fields import Fields

TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
PART = 500  # runs that are read together
TEXTS = ("name", "status", "by", "tags", "note")
TYPE_OF_OWN = {"run": pa.int64(), "started": pa.timestamp("us", "UTC"), **dict.fromkeys(TEXTS, pa.string())}


def names_of(fields: Fields, columns: Sequence[Column]) -> list[str]:
    """The names of a file's columns, first the run's number and name."""
    names = ["run", "name"]
    for column in columns:
        if column.name == "win":
            names += ["win", "win.low", "win.high", "win.pairs"]
        elif column.name == "principles":
            names += [f"principles.{principle}.weight" for principle in fields.principles]
        else:
            names.append("reward/total" if column.name == "sparkline" else column.name)
    return list(dict.fromkeys(names))


def as_csv(team: Team, fields: Fields, runs: QuerySet[Run], names: Sequence[str]) -> Iterator[bytes]:
    yield csv_line(names)
    for cells in _lines(team, fields, runs, names):
        yield csv_line(["" if cell is None else cell for cell in cells])


def as_parquet(team: Team, fields: Fields, runs: QuerySet[Run], names: Sequence[str]) -> Iterator[bytes]:
    """A column of values is of numbers, or of texts if one of its values is a text."""
    lines = list(_lines(team, fields, runs, names))
    arrays = []
    for place, name in enumerate(names):
        column = [cells[place] for cells in lines]
        if name in TYPE_OF_OWN:
            arrays.append(pa.array(column, TYPE_OF_OWN[name]))
        elif any(isinstance(value, str) for value in column):
            arrays.append(pa.array([None if value is None else str(value) for value in column], pa.string()))
        else:
            arrays.append(pa.array(column, pa.float64()))
    file = io.BytesIO()
    pq.write_table(pa.table(arrays, names=list(names)), file, compression="zstd")
    yield file.getvalue()


def _lines(team: Team, fields: Fields, runs: QuerySet[Run], names: Sequence[str]) -> Iterator[list[Any]]:
    """Each run's cells. The order is taken once, so that a run that ends meanwhile is in the file once."""
    keys = list(runs.values_list("pk", flat=True))
    matching = Run.objects.of(team).select_related("created_by").prefetch_related("tags").defer("file_digests")
    for start in range(0, len(keys), PART):
        part = matching.in_bulk(keys[start:start + PART])
        values = values_by_run(team, fields, list(part.values()), names)
        for key in keys[start:start + PART]:
            if key in part:
                yield _line(part[key], values[key], names)


def _line(run: Run, values: Values, names: Sequence[str]) -> list[Any]:
    own = {"run": run.pk, "name": run.name, "status": run.status, "started": run.created_at, "note": run.note,
           "by": run.created_by.get_username() if run.created_by else "",
           "tags": ", ".join(tag.name for tag in run.tags.all())}
    return [own[name] if name in own else values.get(name) for name in names]
