"""The page on which the columns are chosen: it opens for every file, says what is used, and lets one discard it."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, upload, zipped
from webapp.accounts.models import Team, User
from webapp.datasets import import_preview, services
from webapp.datasets.models import Dataset

pytestmark = pytest.mark.once  # a preview is read from the upload, and nothing is stored


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


def page_of(client: Client, dataset: Dataset) -> str:
    answer = client.get(reverse("datasets:columns", args=[dataset.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def parquet(table: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, **options)
    return file.getvalue()


def test_it_names_the_columns_that_are_used_and_those_that_are_not(
    owner_client: Client, team: Team, owner: User,
) -> None:
    page = page_of(owner_client, upload(team, owner, jsonl(
        {"instruction": "Translate.", "input": "Das Haus", "output": "The house", "note": "n", "score\ud800": 3})))

    assert "Added to the prompt: <code>input</code>" in page
    assert "<dt>Not used</dt><dd><code>note</code>, <code>score\ufffd</code></dd>" in page
    assert "Das Haus" in page


def test_a_part_of_the_prompt_can_be_chosen_by_hand(owner_client: Client, team: Team, owner: User) -> None:
    body = jsonl({"question": "Why?", "who": "Be brief.", "answer": "So."})
    dataset = upload(team, owner, body)

    owner_client.post(reverse("datasets:columns", args=[dataset.pk]), {"prompt": "question", "system": "who"})
    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.columns == {"prompt": "question", "response": "answer", "system": "who"}
    row = dataset.rows.select_related("text").get()
    assert row.text.prompt == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]


def test_a_part_of_the_prompt_can_be_left_out_by_hand(owner_client: Client, team: Team, owner: User) -> None:
    dataset = upload(team, owner, jsonl({"question": "Why?", "context": "A long page.", "answer": "So."}))
    address = reverse("datasets:columns", args=[dataset.pk])
    assert "A long page." in owner_client.get(address).content.decode()
    choice = {"prompt": "question", "response": "answer", "input": "", "system": "", "history": ""}

    page = owner_client.get(address, choice).content.decode()
    owner_client.post(address, choice)
    services.dataset_import(dataset_id=dataset.pk)

    assert "A long page." not in page and "<dt>Not used</dt><dd><code>context</code></dd>" in page
    dataset.refresh_from_db()
    assert dataset.rows.select_related("text").get().text.prompt == [{"role": "user", "content": "Why?"}]


FILES: dict[str, tuple[str, bytes]] = {
    "half a character": ("a.jsonl", jsonl({"prompt": "Why?", "chosen": "a\ud83d", "rejected": "b"})),
    "half a character in a name": ("a.jsonl", jsonl({"prompt": "Why?", "a\ud800b": 1})),
    "NUL": ("a.jsonl", jsonl({"prompt": "Wh\x00y?", "n\x00": "\x00"})),
    "NUL in CSV": ("a.csv", b"prompt,n\x00te\nWh\x00y?,x\nWhy?,x\n"),
    "a deep cell": ("a.csv", b'prompt,chosen,rejected\nWhy?,"[{""a"":' + b"[" * 100_000 + b'",No\n'),
    "deep JSON": ("a.jsonl", b'{"prompt": "Why?", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "deep objects": ("a.json", b'{"a":' * 100_000),
    "a long number": ("a.jsonl", b'{"prompt": "Why?", "n": ' + b"7" * 5000 + b"}"),
    "Latin-1 in Parquet": ("a.parquet", parquet(pyarrow.table({
        "prompt": ["Why?"], "note": pyarrow.array([b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())}))),
    "the year 12000": ("a.parquet", parquet(pyarrow.table({
        "prompt": ["Why?"], "day": pyarrow.array([3_663_700], pyarrow.int32()).cast(pyarrow.date32())}))),
    "far seconds": ("a.parquet", parquet(pyarrow.table({
        "prompt": ["Why?"], "at": pyarrow.array([10**15], pyarrow.int64()).cast(pyarrow.timestamp("ms")),
        "past": pyarrow.array([-(10**15)], pyarrow.int64()).cast(pyarrow.timestamp("ms", "Europe/Rome"))}))),
    "durations in lists": ("a.parquet", parquet(pyarrow.table({
        "prompt": ["Why?"], "took": pyarrow.array([[2**62]], pyarrow.list_(pyarrow.duration("s")))}))),
    "Latin-1 in a name in Parquet": ("a.parquet", parquet(
        pyarrow.table({"prompt": ["Why?"], "zzzz": ["n"]}), store_schema=False).replace(b"zzzz", b"caf\xe9")),
    "nothing": ("a.jsonl.gz", zipped(b"")),
    "a gzip of a gzip": ("a.json.gz", zipped(zipped(b"[]"))),
    "no JSON": ("a.json", b"\x80\x04\x95\x00"),
    "a workbook": ("a.csv", b"PK\x03\x04 and so on"),
    "markup in a name": ("a.csv", b"<script>alert(1)</script>,prompt\nx,Why?\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_it_opens_for_every_file_which_can_be_imported_or_discarded(
    owner_client: Client, team: Team, owner: User, name: str,
) -> None:
    filename, body = FILES[name]
    dataset = upload(team, owner, body, filename)

    page = page_of(owner_client, dataset)
    owner_client.post(reverse("datasets:columns", args=[dataset.pk]))
    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status in ("uploaded", "ready", "failed")
    assert "Import</button>" in page or "is-error" in page
    assert "<script>alert" not in page
    if dataset.status != "ready":
        assert "Discard</button>" in page
        assert f'aria-label="Discard {dataset.name}"' in owner_client.get(reverse("datasets:list")).content.decode()
        owner_client.post(reverse("datasets:delete", args=[dataset.pk]))
        assert not Dataset.objects.exists()


@pytest.mark.parametrize("name", ["half a character in a name", "a long number", "Latin-1 in Parquet", "far seconds",
                                  "the year 12000", "durations in lists", "markup in a name"])
def test_what_nobody_uses_cannot_hurt(team: Team, owner: User, name: str) -> None:
    filename, body = FILES[name]

    dataset = imported(team, owner, body, filename)

    assert (dataset.status, dataset.rows_good, dataset.rows_bad) == ("ready", 1, 0)


@pytest.mark.parametrize(("filename", "body", "reason"), [
    ("a.json", b'["just", "texts"]', "expected an object, found text"),
    ("a.jsonl", b'{"prompt": "Why?', "invalid JSON"),
    ("a.csv", b"prompt,chosen,rejected\nWhy?,caf\xe9,no\n", "UTF-8"),
    ("a.jsonl", b'{"prompt": "caf\xe9"}', "UTF-8"),
])
def test_it_says_why_no_row_can_be_read(
    owner_client: Client, team: Team, owner: User, filename: str, body: bytes, reason: str,
) -> None:
    page = page_of(owner_client, upload(team, owner, body, filename))

    assert reason in page and "Left out:" in page


def test_a_program_error_in_the_preview_is_a_message_too(
    owner_client: Client, team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError
    monkeypatch.setattr(import_preview, "preview_in_subprocess", broken)

    page = page_of(owner_client, upload(team, owner, jsonl({"prompt": "Why?"})))

    assert "could not be previewed" in page and "Discard" in page


@pytest.mark.parametrize("filename", ["a\x00b.jsonl", "a\ud83d.jsonl", "<img onerror=x>.jsonl", "x" * 400 + ".jsonl"])
def test_any_name_of_a_file_is_taken(owner_client: Client, team: Team, owner: User, filename: str) -> None:
    file = SimpleUploadedFile("a.jsonl", json.dumps({"prompt": "Why?"}).encode())
    file._name = filename  # as it is, where Django would have cleaned it

    dataset = services.dataset_upload(team=team, user=owner, name="x", file=file)

    dataset.refresh_from_db()
    assert "\x00" not in dataset.filename and "Why?" in page_of(owner_client, dataset)


def test_a_page_of_long_rows_stays_small_and_the_download_is_whole(
    owner_client: Client, team: Team, owner: User,
) -> None:
    long = "x" * 300_000
    dataset = imported(team, owner, jsonl(*[{"prompt": long, "chosen": long, "rejected": "y" * 300_000}] * 10))

    page = owner_client.get(reverse("datasets:detail", args=[dataset.pk])).content.decode()

    assert len(page) < 1_500_000 and "the download has the full text" in page
    assert dataset.rows.select_related("text")[0].text.chosen == long


def test_a_choice_of_columns_is_refused_in_words_that_a_page_can_hold(
    owner_client: Client, team: Team, owner: User,
) -> None:
    dataset = upload(team, owner, jsonl({"prompt": "Why?", "a\ud800": 1}))

    page = owner_client.get(reverse("datasets:columns", args=[dataset.pk]), {"prompt": "nowhere"})

    assert page.status_code == 200 and "The file has no column nowhere." in page.content.decode()
