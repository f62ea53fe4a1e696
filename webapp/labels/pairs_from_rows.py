"""Makes the pairs of a dataset's rows before any run has: the same pairs, under the same digests, as a run's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from django.db import transaction

from training import config
from training.data.data_files import files_from_rows
from training.data.rows import Row
from training.dialogue import last_user_message
from training.errors import BadData
from training.run.artifacts import read_jsonl
from training.text import storable
from webapp.accounts.models import Team
from webapp.datasets.models import Dataset, DatasetText
from webapp.labels.models import Pair, PairText, PairWords
from webapp.labels.pair_search import words_of

_SPARE = 20  # rows read beyond those asked for: files of a run leave out two prompts at most, for evaluation


@transaction.atomic
def pairs_from_rows(*, team: Team, dataset: Dataset, most: int) -> list[int]:
    """Keys of the pairs of a dataset's first rows, in no particular order; those that are missing are recorded."""
    with tempfile.TemporaryDirectory() as folder:
        settings = config.Data(source=dataset.name, limit=most + _SPARE, held_out=2)
        try:
            files = files_from_rows(_rows(dataset, most), settings, Path(folder))
        except BadData:  # fewer than two prompts
            return []
        made = {row["digest"]: row for row in read_jsonl(files["pairs"])} if "pairs" in files else {}
    Pair.objects.bulk_create(
        [Pair(team=team, digest=digest, dataset=dataset, human=row["human"],
              excerpt=storable(last_user_message(row["prompt"])[:120])) for digest, row in sorted(made.items())],
        ignore_conflicts=True)
    keys = dict(Pair.objects.of(team).filter(digest__in=list(made)).values_list("digest", "pk"))
    PairText.objects.bulk_create(
        [PairText(pair_id=keys[digest], prompt=row["prompt"], response_a=row["a"], response_b=row["b"])
         for digest, row in sorted(made.items())],
        ignore_conflicts=True)
    PairWords.objects.bulk_create(
        [PairWords(pair_id=keys[digest], words=words_of(row["prompt"], row["a"], row["b"]))
         for digest, row in sorted(made.items())],
        ignore_conflicts=True)
    return list(keys.values())


def _rows(dataset: Dataset, most: int) -> Iterator[Row]:
    texts = DatasetText.objects.filter(row__dataset=dataset).exclude(rejected="").order_by("row__number")
    for text in texts[:most + _SPARE].iterator(chunk_size=25):
        yield Row(text.prompt, text.chosen, text.rejected, text.undecided)
