"""Rows that cannot be imported: how many for which reason, and how they begin."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow
import pyarrow.parquet
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.webapp.datasets.files import imported, jsonl
from training.data.rows import RAW_CHARACTERS, beginning_of
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, RejectedRow
from webapp.datasets.selectors import rejected_reasons

GOOD = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Tests call the import themselves."""


def raw_of(dataset: Dataset) -> list[str]:
    return list(dataset.rejected_rows.order_by("number").values_list("raw", flat=True))


def test_a_row_that_was_read_is_kept_as_json_from_every_kind_of_file(team: Team, owner: User) -> None:
    table = pyarrow.table({"prompt": ["Why?", "How?"], "chosen": ["So.", "Thus."], "rejected": ["No.", None]})
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(table, parquet)

    assert raw_of(imported(team, owner, jsonl(GOOD, GOOD | {"rejected": None}))) == [
        '{"prompt": "Why?", "chosen": "So.", "rejected": null}']
    assert raw_of(imported(team, owner, b"prompt,chosen,rejected\nWhy?,So.,No.\nHow?,Same.,Same.\n", "data.csv")) == [
        '{"prompt": "How?", "chosen": "Same.", "rejected": "Same."}']
    assert raw_of(imported(team, owner, parquet.getvalue(), "data.parquet")) == [
        '{"prompt": "How?", "chosen": "Thus.", "rejected": null}']


def test_a_row_that_could_not_be_read_is_kept_as_it_stands(team: Team, owner: User) -> None:
    assert raw_of(imported(team, owner, jsonl(GOOD, '{"prompt": "Why?",', "[1, 2]"))) == [
        '{"prompt": "Why?",', "[1, 2]"]
    assert raw_of(imported(team, owner, b"prompt,response\nWhy?,So.\nHow?,Thus.,more\n", "data.csv")) == [
        "How?,Thus.,more"]
    assert raw_of(imported(team, owner, jsonl(GOOD, '{"prompt": "' + "why " * 1000))) == [
        ('{"prompt": "' + "why " * 1000)[:RAW_CHARACTERS].strip()]


def test_of_a_huge_row_only_the_beginning_is_kept(team: Team, owner: User) -> None:
    huge = GOOD | {"chosen": "so " * 100_000, "rejected": "so " * 100_000}
    raw, = raw_of(imported(team, owner, jsonl(GOOD, huge)))
    assert len(raw) == RAW_CHARACTERS and raw.startswith('{"prompt": "Why?", "chosen": "so so')


def test_the_beginning_of_a_record_is_written_and_no_more() -> None:
    written = 0

    class Cells(list[int]):
        def __iter__(self) -> Iterator[int]:
            nonlocal written
            for cell in super().__iter__():
                written += 1
                yield cell

    assert len(beginning_of({"history": Cells(range(100_000))})) == RAW_CHARACTERS
    assert written < 200


def test_reasons_are_counted_most_first_and_places_in_json_do_not_matter(team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl(GOOD, '{"prompt": ', '{"prompt": "Why?", ', GOOD | {"rejected": None}))
    assert rejected_reasons(dataset=dataset)[-1] == ("no value in column 'rejected'", 1)
    assert sum(rows for _, rows in rejected_reasons(dataset=dataset)) == 3
    assert all("char" not in reason for reason, _ in rejected_reasons(dataset=dataset))


def test_the_page_shows_both_as_text(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl(GOOD, {"prompt": "<b>Why?</b>", "chosen": "Same.", "rejected": "Same."}))
    page = owner_client.get(f"/datasets/{dataset.pk}/rejected/").content.decode()
    assert "Why rows were left out" in page
    assert "&lt;b&gt;Why?&lt;/b&gt;" in page and "<b>Why?" not in page


def test_many_bad_rows_take_no_more_queries(owner_client: Client, team: Team, owner: User) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner_client.get(f"/datasets/{dataset.pk}/rejected/").status_code == 200
        return len(captured)

    dataset = imported(team, owner, jsonl(GOOD, {"prompt": "Why?", "chosen": "Same.", "rejected": "Same."}))
    few = queries()
    RejectedRow.objects.bulk_create(
        RejectedRow(dataset=dataset, number=number, reason=f"reason {number}") for number in range(10, 60))
    assert queries() == few
