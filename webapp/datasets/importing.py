"""The import of a data set: rows from its source into the database, in batches, with bounded memory.

A batch and the count of rows read are one transaction, so an import that was killed goes on after its last batch. One
worker holds the claim on an import and says every few seconds that it goes on; of two, the one that lost the claim lets
go. Every import ends: what is wrong with the source or with the program becomes its `error`; only where the database is
away, or the worker was killed, is it tried again, and at most MAX_ATTEMPTS times without a row more. Left out: changing
rows afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from training.errors import BadData
from training.reading_process import read_hub_apart as read_hub
from training.reading_process import read_rows_apart as read_rows
from training.rows import BadRow, Row
from training.text import storable
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, RejectedRow

BATCH = 1000
KEPT_BAD_ROWS = 10_000
MAX_ATTEMPTS = 5
SILENT = timedelta(seconds=60)
logger = logging.getLogger("concord.datasets")


class _LostIt(Exception):
    """Another worker, or the person who deleted the data set, was faster."""


def silent() -> QuerySet[Dataset]:
    """Imports of which nobody has heard for a while."""
    unheard = Q(alive_at=None) | Q(alive_at__lt=timezone.now() - SILENT)
    return Dataset.objects.filter(unheard, status=Dataset.Status.IMPORTING)


def claim(dataset_id: int) -> Dataset | None:
    """The data set, if it is this worker's to import: nobody else works on it, and it was not tried too often."""
    token = secrets.token_hex(16)
    free = Dataset.objects.filter(pk=dataset_id, status=Dataset.Status.IMPORTING)
    if not free.filter(Q(claim="") | Q(pk__in=silent())).update(
            claim=token, alive_at=timezone.now(), attempts=F("attempts") + 1):
        return None
    dataset = free.filter(claim=token).first()
    if dataset is not None and dataset.attempts > MAX_ATTEMPTS:
        _fail(dataset, f"Its import stopped {MAX_ATTEMPTS} times after {dataset.rows_read:,} rows, each time without a "
                       "word: the worker was ended, or the database was away. Look at the workers' log and at the "
                       "machine's memory, then try again.")
        return None
    return dataset


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
    """Import all rows and set the status. Whatever is wrong becomes the data set's `error`; a database that is away is
    raised, and the import is sent again later."""
    tally, read = _Tally(), dataset.rows_read
    try:
        for batch in _batches(_numbered(_source(dataset)), tally):
            last = batch[-1][0]
            if last > read:
                _record(dataset, read, [item for item in batch if item[0] > read])
                read = last
        _finish(dataset, tally)
    except BadData as problem:
        _fail(dataset, str(problem))
    except _LostIt:
        return
    except (OperationalError, InterfaceError):
        _let_go(dataset)
        raise
    except Exception as error:
        logger.exception("The import of data set %s failed", dataset.pk)
        words = storable(" ".join(str(error).split()))[:300]
        _fail(dataset, f"An unexpected error: {type(error).__name__}: {words}. The workers' log has the details; look "
                       "at the file, then try again or report it.")
    except BaseException:
        _let_go(dataset)
        raise


def _fail(dataset: Dataset, error: str) -> None:
    _open(dataset).update(status=Dataset.Status.FAILED, error=storable(error), claim="")


def _let_go(dataset: Dataset) -> None:
    """Another worker may go on at once; a database that is away is told later, by silence."""
    with contextlib.suppress(DatabaseError):
        _open(dataset).update(claim="")


def _source(dataset: Dataset) -> Iterator[Row | BadRow]:
    def still_here() -> None:
        if not _open(dataset).update(alive_at=timezone.now()):
            raise _LostIt
    if dataset.hub_id:
        return read_hub(dataset.hub_id, dataset.split, dataset.columns, still_here)
    path = settings.UPLOADS / dataset.upload
    if not path.is_file():
        raise BadData("The uploaded file is no longer there.", "Delete this data set and upload the file again.")
    return read_rows(path, dataset.filename, dataset.columns, still_here)


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
        rows_read=batch[-1][0], rows_good=F("rows_good") + len(good), rows_bad=F("rows_bad") + len(bad),
        alive_at=timezone.now(), attempts=0)
    if not changed:
        raise _LostIt
    rows = DatasetRow.objects.bulk_create([DatasetRow(dataset=dataset, number=number) for number, _ in good])
    DatasetText.objects.bulk_create([
        DatasetText(row=stored, prompt=row.prompt, chosen=row.chosen or "", rejected=row.rejected or "")
        for stored, (_, row) in zip(rows, good, strict=True)
    ])
    room = max(0, KEPT_BAD_ROWS - RejectedRow.objects.filter(dataset=dataset).count()) if bad else 0
    RejectedRow.objects.bulk_create([
        RejectedRow(dataset=dataset, number=row.number, reason=storable(row.reason)[:300]) for row in bad[:room]
    ])


def _finish(dataset: Dataset, tally: _Tally) -> None:
    dataset.refresh_from_db()
    if not dataset.rows_good:
        bad = f"None of its {dataset.rows_bad} rows could be used." if dataset.rows_bad else "It holds no rows."
        raise BadData(bad, "See the reasons below, then choose other columns or mend the file.")
    _open(dataset).update(status=Dataset.Status.READY, kind=tally.kind, digest=tally.digest.hexdigest(), claim="")


def _open(dataset: Dataset) -> QuerySet[Dataset]:
    """The data set, as long as nobody ended its import or took it over."""
    return Dataset.objects.filter(pk=dataset.pk, status=Dataset.Status.IMPORTING, claim=dataset.claim)
