"""The import of a dataset: rows from its source into the database, in batches, with bounded memory.

A batch and the count of rows read are one transaction, so an import that was killed goes on after its last batch. One
worker holds the claim on an import and renews its heartbeat every few seconds; a worker that lost the claim stops.
Every import ends: what is wrong with the source or with the program becomes its `error`. It is retried only where the
database is unavailable or the worker was killed, and at most MAX_ATTEMPTS times in a row without progress. Left out:
changing rows afterwards; a version (`webapp.datasets.versions`) is made by the same import from other rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from training.data.data_files import pair_in
from training.data.reader_process import read_hub_in_subprocess as read_hub
from training.data.reader_process import read_rows_in_subprocess as read_rows
from training.data.rows import RAW_CHARACTERS, BadRow, Row
from training.errors import BadData
from training.text import storable
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, RejectedRow, RowRatings, RowWords
from webapp.datasets.searching import words_of
from webapp.datasets.versions import version_rows

BATCH, BATCH_BYTES = 1000, 10_000_000
KEPT_BAD_ROWS = 10_000
HOPELESS_ROWS = 20_000  # with no good one among them, an import ends
MAX_ATTEMPTS = 5
_SEE_REASONS = "Read the reasons below, then choose other columns or correct the file."
HEARTBEAT_TIMEOUT = timedelta(seconds=60)
logger = logging.getLogger("concord.datasets")


class _ClaimLost(Exception):
    """Another worker, or the person who deleted the dataset, was faster."""


def without_heartbeat() -> QuerySet[Dataset]:
    """Imports whose worker, or message, has been silent for a while."""
    silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=timezone.now() - HEARTBEAT_TIMEOUT)
    return Dataset.objects.filter(silent, status=Dataset.Status.IMPORTING)


def claim(dataset_id: int) -> Dataset | None:
    """Claim the import. Returns None if another worker has it or it has failed too often."""
    token = secrets.token_hex(16)
    free = Dataset.objects.filter(pk=dataset_id, status=Dataset.Status.IMPORTING)
    if not free.filter(Q(claim="") | Q(pk__in=without_heartbeat())).update(
            claim=token, heartbeat_at=timezone.now(), attempts=F("attempts") + 1):
        return None
    dataset = free.filter(claim=token).first()
    if dataset is not None and dataset.attempts > MAX_ATTEMPTS:
        _fail(dataset, f"The import stopped {MAX_ATTEMPTS} times after {dataset.rows_read:,} rows without an error "
                       "message: the worker was killed, or the database was unavailable. Check the workers' log and "
                       "the machine's memory, then try again.")
        return None
    return dataset


@dataclass
class _Tally:
    """Counts over all rows read so far, including those of earlier attempts."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    ratings: hashlib._Hash = field(default_factory=hashlib.sha256)
    aspects: Counter[str] = field(default_factory=Counter)
    reference_answers: hashlib._Hash = field(default_factory=hashlib.sha256)
    references: int = 0
    good: int = 0
    choices: bool = False
    pairs: bool = False
    responses: bool = False

    def add(self, row: Row) -> int:
        """Count a row. Returns its size in bytes."""
        parts = row[:4] if row.undecided else row[:3]  # rows of older imports keep their digest
        line = json.dumps(parts, ensure_ascii=False, sort_keys=True).encode() + b"\n"
        self.digest.update(line)
        if row.ratings:
            self.ratings.update(json.dumps([self.good, row.ratings], sort_keys=True).encode() + b"\n")
            self.aspects.update(row.ratings.keys())
        if row.reference:
            self.reference_answers.update(json.dumps([self.good, row.reference]).encode() + b"\n")
            self.references += 1
        self.good += 1
        self.pairs = self.pairs or row.rejected is not None
        self.choices = self.choices or (row.rejected is not None and not row.undecided)
        self.responses = self.responses or row.chosen is not None
        return len(line)

    @property
    def kind(self) -> Dataset.Kind:
        if self.pairs:
            return Dataset.Kind.PAIRS if self.choices else Dataset.Kind.UNDECIDED
        return Dataset.Kind.DIALOGUES if self.responses else Dataset.Kind.PROMPTS


def run(dataset: Dataset) -> None:
    """Import all rows and set the status. Any problem becomes the dataset's `error`, except an unavailable database:
    that error is raised, and the import is sent again later."""
    tally, rows_read = _Tally(), dataset.rows_read
    try:
        for batch in _batches(_numbered(dataset), tally):
            last = batch[-1][0]
            if last > rows_read:
                _record(dataset, rows_read, [item for item in batch if item[0] > rows_read])
                rows_read = last
            if last >= HOPELESS_ROWS and not tally.good:
                raise BadData(f"None of the first {last:,} rows could be used.{_first_reason(dataset)}", _SEE_REASONS)
        _finish(dataset, tally)
    except BadData as problem:
        _fail(dataset, str(problem))
    except _ClaimLost:
        return
    except (OperationalError, InterfaceError):
        _release_claim(dataset)
        raise
    except Exception as error:
        logger.exception("The import of dataset %s failed", dataset.pk)
        words = storable(" ".join(str(error).split()))[:300]
        _fail(dataset, f"An unexpected error: {type(error).__name__}: {words}. See the workers' log for details, check "
                       "the file, then try again or report the error.")
    except BaseException:
        _release_claim(dataset)
        raise


def _fail(dataset: Dataset, error: str) -> None:
    _claimed(dataset).update(status=Dataset.Status.FAILED, error=storable(error), claim="")


def _release_claim(dataset: Dataset) -> None:
    """Release the claim, so that another worker may continue at once. Without a database, the claim times out."""
    with contextlib.suppress(DatabaseError):
        _claimed(dataset).update(claim="")


def _numbered(dataset: Dataset) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield each row with its number: good and bad rows in the order of the source, none left out. A version's rows
    have the numbers that they have in the dataset that it is made from."""
    def heartbeat() -> None:
        if not _claimed(dataset).update(heartbeat_at=timezone.now()):
            raise _ClaimLost
    return version_rows(dataset, heartbeat) if dataset.is_version else enumerate(_source(dataset, heartbeat), 1)


def _source(dataset: Dataset, heartbeat: Callable[[], None]) -> Iterator[Row | BadRow]:
    if dataset.hub_id:
        return read_hub(dataset.hub_id, dataset.split, dataset.columns, heartbeat)
    path = settings.UPLOADS / dataset.upload
    if not path.is_file():
        raise BadData("The uploaded file no longer exists.", "Delete this dataset and upload the file again.")
    return read_rows(path, dataset.filename, dataset.columns, heartbeat)


def _batches(rows: Iterator[tuple[int, Row | BadRow]], tally: _Tally) -> Iterator[list[tuple[int, Row | BadRow]]]:
    batch: list[tuple[int, Row | BadRow]] = []
    size = 0
    for number, row in rows:
        if isinstance(row, Row):
            size += tally.add(row)
        batch.append((number, row))
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@transaction.atomic
def _record(dataset: Dataset, rows_read: int, batch: list[tuple[int, Row | BadRow]]) -> None:
    good = [(number, row) for number, row in batch if isinstance(row, Row)]
    bad = [row for _, row in batch if isinstance(row, BadRow)]
    changed = _claimed(dataset).filter(rows_read=rows_read).update(
        rows_read=batch[-1][0], rows_good=F("rows_good") + len(good), rows_bad=F("rows_bad") + len(bad),
        heartbeat_at=timezone.now(), attempts=0)
    if not changed:
        raise _ClaimLost
    rows = DatasetRow.objects.bulk_create([DatasetRow(dataset=dataset, number=number) for number, _ in good])
    DatasetText.objects.bulk_create([
        DatasetText(row=stored, prompt=row.prompt, chosen=row.chosen or "", rejected=row.rejected or "",
                    undecided=row.undecided, reference=row.reference or "")
        for stored, (_, row) in zip(rows, good, strict=True)
    ])
    RowRatings.objects.bulk_create(_ratings(stored, row) for stored, (_, row) in zip(rows, good, strict=True)
                                   if row.ratings)
    RowWords.objects.bulk_create([RowWords(dataset=dataset, number=number, words=words_of(row))
                                  for number, row in good])
    room = max(0, KEPT_BAD_ROWS - RejectedRow.objects.filter(dataset=dataset).count()) if bad else 0
    RejectedRow.objects.bulk_create([
        RejectedRow(dataset=dataset, number=row.number, reason=storable(row.reason)[:300],
                    raw=storable(row.raw)[:RAW_CHARACTERS])
        for row in bad[:room]
    ])


def _ratings(stored: DatasetRow, row: Row) -> RowRatings:
    pair = pair_in(row)
    assert pair is not None, "only rows with two responses are rated"
    return RowRatings(row=stored, pair=pair["digest"], swapped=pair["a"] != row.chosen, ratings=row.ratings)


def _finish(dataset: Dataset, tally: _Tally) -> None:
    dataset.refresh_from_db(fields=["rows_good", "rows_bad"])
    if not dataset.rows_good:
        if not dataset.rows_bad:
            raise BadData("The dataset has no rows.", "Choose another file.")
        raise BadData(f"None of the {dataset.rows_bad:,} rows could be used.{_first_reason(dataset)}", _SEE_REASONS)
    _claimed(dataset).update(status=Dataset.Status.READY, kind=tally.kind, digest=tally.digest.hexdigest(), claim="",
                             aspects=dict(tally.aspects),
                             ratings_digest=tally.ratings.hexdigest() if tally.aspects else "",
                             references=tally.references,
                             references_digest=tally.reference_answers.hexdigest() if tally.references else "")


def _first_reason(dataset: Dataset) -> str:
    """Why the first row could not be used: usually the reason for all of them."""
    row = dataset.rejected_rows.order_by("number").first()
    return f" Row {row.number}: {row.reason.rstrip('.')}." if row else ""


def _claimed(dataset: Dataset) -> QuerySet[Dataset]:
    """The dataset's row, as long as this worker still has the claim."""
    return Dataset.objects.filter(pk=dataset.pk, status=Dataset.Status.IMPORTING, claim=dataset.claim)
