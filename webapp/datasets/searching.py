"""Search in the rows of a dataset: which rows contain all words of a query, in any case, on every database.

A row is found by its distinct words, folded by Python, so that "É" finds "é" also on SQLite, whose own LIKE folds ASCII
alone and whose JSON has such letters escaped. A query's words hold no white space, so looking among distinct words
finds what looking in the text would, in fewer bytes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from training.data.rows import Row
from training.dialogue import Dialogue
from training.text import storable
from webapp.datasets.models import Dataset, DatasetText, RowWords

QUERY_CHARACTERS, QUERY_WORDS = 200, 10
_BATCH = 500


def words_of(row: Row) -> str:
    """The distinct words of a row's prompt, responses and reference answer, folded."""
    texts = [*(message["content"] for message in row.prompt), row.chosen or "", row.rejected or "",
             row.reference or ""]
    return " ".join(dict.fromkeys(_folded(" ".join(texts)).split()))


def query_words(query: str) -> list[str]:
    """The words that a row must contain, folded; a query that is too long is cut."""
    return _folded(storable(query)[:QUERY_CHARACTERS]).split()[:QUERY_WORDS]


def containing(words: list[str]) -> Q:
    """The condition that `words`, a column made by `words_of`, contains every word of a query."""
    return Q(*(Q(words__contains=word) for word in words))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def words_restore() -> None:
    """Make the words of datasets that have none, as after a backup was restored."""
    missing = ~Exists(RowWords.objects.filter(dataset=OuterRef("pk")))
    for dataset in Dataset.objects.filter(missing, rows_good__gt=0):
        _words_make(dataset)


@transaction.atomic
def _words_make(dataset: Dataset) -> None:
    for batch in _batches(dataset):
        RowWords.objects.bulk_create([
            RowWords(dataset=dataset, number=number, words=words_of(Row(prompt, chosen, rejected, reference=reference)))
            for number, prompt, chosen, rejected, reference in batch])


def _batches(dataset: Dataset) -> Iterator[list[tuple[int, Dialogue, str, str, str]]]:
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    columns = texts.values_list("row__number", "prompt", "chosen", "rejected", "reference")
    last = 0
    while batch := list(columns.filter(row__number__gt=last)[:_BATCH]):
        yield batch
        last = batch[-1][0]
