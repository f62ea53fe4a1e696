"""How long the import of a large dataset with ratings takes, and how much memory.

    python benchmarks/importing.py [--rows 100000]

A file in HelpSteer's layout with invented text of HelpSteer's lengths: two responses to each prompt, of about 60 to 400
words, each rated on five aspects. SQLite in a temporary folder, or a new database of the PostgreSQL server that
CONCORD_DATABASE_URL names. The import is the one that a worker runs; memory is the most that it and the process that
reads for it took together (PSS: what processes share counts once).

The last line is `seconds: 31 memory_mb: 210 rows: 100000`, where rows are those of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import repository  # noqa: F401
from pages import set_up
from real_english import proportional_bytes

WORDS = 5000
EVERY = 0.2  # seconds between two looks at the memory


class MemoryWatch(threading.Thread):
    """Keeps the most bytes that this process and those that it started took at one time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.most = 0

    def run(self) -> None:
        this = psutil.Process()
        while not self._over.wait(EVERY):
            processes = [this, *this.children(recursive=True)]
            self.most = max(self.most, sum(proportional_bytes(process.pid) for process in processes))

    def end(self) -> None:
        self._over.set()
        self.join()


def write_rows(path: Path, count: int) -> None:
    """`count` rated responses, two to a prompt. The same file each time."""
    draw = random.Random(1)
    letters = "aeioulmnrst"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(WORDS)]

    def text(low: int, high: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(low, high)))

    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            if number % 2 == 0:
                prompt = f"{text(10, 120)} {number}?"
            ratings = {name: draw.randint(0, 4) for name in (
                "helpfulness", "correctness", "coherence", "complexity", "verbosity")}
            file.write(json.dumps({"prompt": prompt, "response": f"{text(60, 400)} {number}.", **ratings}) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        set_up(Path(folder))
        return import_rows(options.rows)


def import_rows(count: int) -> int:
    from django.conf import settings

    from webapp.accounts.models import User
    from webapp.accounts.services import team_create
    from webapp.datasets import services
    from webapp.datasets.models import Dataset, RowRatings

    user = User.objects.create_user("owner", password="owner-password")
    team = team_create(name="Alignment", user=user)
    path = settings.UPLOADS / "rated.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, count)
    print(f"{count:,} rows of a file of {path.stat().st_size / 1e6:.0f} MB; the process before the import: "
          f"{proportional_bytes(os.getpid()) / 1e6:.0f} MB", flush=True)
    dataset = Dataset.objects.create(team=team, name="Rated", filename=path.name, upload=path.name, created_by=user,
                                     status=Dataset.Status.IMPORTING)
    memory = MemoryWatch()
    memory.start()
    began, cpu = time.monotonic(), time.process_time()
    services.dataset_import(dataset_id=dataset.pk)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    memory.end()
    dataset.refresh_from_db()
    rated = RowRatings.objects.filter(row__dataset=dataset).count()
    print(f"{dataset.status} {dataset.error}: {dataset.rows_good:,} pairs, {rated:,} rated, {dataset.rows_bad:,} bad "
          f"rows; {cpu_seconds:.1f} s of CPU in the worker's own process")
    print(f"seconds: {seconds:.0f} memory_mb: {memory.most / 1e6:.0f} rows: {count}")
    return 0 if dataset.status == Dataset.Status.READY else 1


if __name__ == "__main__":
    sys.exit(main())
