"""Files to import, made small."""

from __future__ import annotations

import gzip
import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from webapp.accounts.models import Team, User
from webapp.datasets import services
from webapp.datasets.models import Dataset


def jsonl(*rows: Any) -> bytes:
    """Rows as lines of JSON; text is written as it is, so that it may be broken."""
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def pairs(count: int) -> bytes:
    return jsonl(*({"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No idea."} for n in range(count)))


def upload(team: Team, user: User, body: bytes, filename: str = "data.jsonl", name: str = "data") -> Dataset:
    return services.dataset_upload(team=team, user=user, name=name, file=SimpleUploadedFile(filename, body))


def imported(team: Team, user: User, body: bytes, filename: str = "data.jsonl", **columns: str) -> Dataset:
    """A dataset that has been through its import."""
    dataset = upload(team, user, body, filename)
    services.dataset_import_start(dataset=dataset, columns=columns)
    services.dataset_import(dataset_id=dataset.pk)
    dataset.refresh_from_db()
    return dataset


def zipped(body: bytes) -> bytes:
    return gzip.compress(body)
