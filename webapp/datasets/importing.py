"""The import of a data set: rows from its source into the database, in batches, with bounded memory.

A batch and the count of rows read are one transaction, so an import that was killed goes on after its last batch. Of
two that work on the same data set, the one whose count no longer fits lets go. Left out: changing rows afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from training.data import BadRow, Row, read_hub, read_rows
from training.errors import BadData
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, RejectedRow

BATCH = 1000
KEPT_BAD_ROWS = 10_000


class _LostIt(Exception):
    """Another worker, or the person who deleted the data set, was faster."""


@dataclass
class _Tally:
    """What is known of all rows read so far, those of an earlier attempt included."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    pairs: bool = False
    responses: bool = False

    def add(self, row: Row) -> None:
        self.digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode() + b"\n")
        self.pairs = self.pairs or row.rejected is not None
        self.responses = self.responses or row.chosen is not None

    @property
    def kind(self) -> Dataset.Kind:
        if self.pairs:
            return Dataset.Kind.PAIRS
        return Dataset.Kind.DIALOGUES if self.responses else Dataset.Kind.PROMPTS


def run(dataset: Dataset) -> None:
    """Import all rows and set the status. Whatever is wrong with the source becomes the data set's `error`."""
    tally, read = _Tally(), dataset.rows_read
    try:
        for batch in _batches(_numbered(_source(dataset)), tally):
            last = batch[-1][0]
            if last > read:
                _record(dataset, read, [item for item in batch if item[0] > read])
                read = last
        _finish(dataset, tally)
    except BadData as problem:
        _open(dataset).update(status=Dataset.Status.FAILED, error=str(problem))
    except _LostIt:
        return


def _source(dataset: Dataset) -> Iterator[Row | BadRow]:
    if dataset.hub_id:
        return read_hub(dataset.hub_id, dataset.split, dataset.columns)
    path = settings.UPLOADS / dataset.upload
    if not path.is_file():
        raise BadData("The uploaded file is no longer there.", "Delete this data set and upload the file again.")
    return read_rows(path, dataset.filename, dataset.columns)


def _numbered(rows: Iterable[Row | BadRow]) -> Iterator[tuple[int, Row | BadRow]]:
    """Each row with its number in the source, from 1: good and bad rows come in order, and none is left out."""
    return enumerate(rows, 1)


def _batches(rows: Iterator[tuple[int, Row | BadRow]], tally: _Tally) -> Iterator[list[tuple[int, Row | BadRow]]]:
    batch: list[tuple[int, Row | BadRow]] = []
    for number, row in rows:
        if isinstance(row, Row):
            tally.add(row)
        batch.append((number, row))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@transaction.atomic
def _record(dataset: Dataset, read: int, batch: list[tuple[int, Row | BadRow]]) -> None:
    good = [(number, row) for number, row in batch if isinstance(row, Row)]
    bad = [row for _, row in batch if isinstance(row, BadRow)]
    changed = _open(dataset).filter(rows_read=read).update(
        rows_read=batch[-1][0], rows_good=F("rows_good") + len(good), rows_bad=F("rows_bad") + len(bad))
    if not changed:
        raise _LostIt
    rows = DatasetRow.objects.bulk_create([DatasetRow(dataset=dataset, number=number) for number, _ in good])
    DatasetText.objects.bulk_create([
        DatasetText(row=stored, prompt=row.prompt, chosen=row.chosen or "", rejected=row.rejected or "")
        for stored, (_, row) in zip(rows, good, strict=True)
    ])
    room = max(0, KEPT_BAD_ROWS - RejectedRow.objects.filter(dataset=dataset).count()) if bad else 0
    RejectedRow.objects.bulk_create([
        RejectedRow(dataset=dataset, number=row.number, reason=row.reason[:300]) for row in bad[:room]
    ])


def _finish(dataset: Dataset, tally: _Tally) -> None:
    dataset.refresh_from_db()
    if not dataset.rows_good:
        bad = f"None of its {dataset.rows_bad} rows could be used." if dataset.rows_bad else "It holds no rows."
        raise BadData(bad, "See the reasons below, then choose other columns or mend the file.")
    _open(dataset).update(status=Dataset.Status.READY, kind=tally.kind, digest=tally.digest.hexdigest())


def _open(dataset: Dataset) -> QuerySet[Dataset]:
    """The data set, as long as nobody ended its import."""
    return Dataset.objects.filter(pk=dataset.pk, status=Dataset.Status.IMPORTING)
