"""The import: what it stores, what it leaves out and why, and that it may be killed at any time."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from django.conf import settings

from tests.webapp.datasets.files import imported, jsonl, pairs, upload, zipped
from training.data.data_files import Row, read_rows
from training.errors import BadData
from webapp.accounts.models import Team, User
from webapp.datasets import importing, services
from webapp.datasets.models import Dataset, DatasetRow, DatasetText, RejectedRow

HH = Path(settings.BASE_DIR).parent / "shared" / "data" / "hh_harmless_1500.jsonl.gz"


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Tests call the import themselves."""


def test_pairs_are_stored_in_the_order_of_the_file(team: Team, owner: User) -> None:
    dataset = imported(team, owner, pairs(3))

    assert (dataset.status, dataset.kind, dataset.rows_read, dataset.rows_good) == ("ready", "pairs", 3, 3)
    assert list(DatasetRow.objects.filter(dataset=dataset).values_list("number", flat=True)) == [1, 2, 3]
    text = DatasetText.objects.get(row__dataset=dataset, row__number=2)
    assert text.prompt == [{"role": "user", "content": "What is 1?"}]
    assert (text.chosen, text.rejected) == ("It is 1.", "No idea.")


@pytest.mark.parametrize(("row", "kind"), [
    ({"prompt": "Why?"}, "prompts"),
    ({"question": "Why?", "answer": "Because."}, "dialogues"),
    ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, "pairs"),
    ({"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."}, "pairs"),
    ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}, "dialogues"),
])
def test_the_kind_is_what_the_rows_are(team: Team, owner: User, row: dict[str, object], kind: str) -> None:
    assert imported(team, owner, jsonl(row, row)).kind == kind


def test_csv_parquet_and_gzip_are_read_as_well(team: Team, owner: User) -> None:
    table = pyarrow.table({"prompt": ["Why?", "How?"], "response": ["So.", "Thus."]})
    parquet = io.BytesIO()
    pyarrow.parquet.write_table(table, parquet)

    datasets = [imported(team, owner, parquet.getvalue(), "data.parquet"),
             imported(team, owner, b"prompt,response\nWhy?,So.\nHow?,Thus.\n", "data.csv"),
             imported(team, owner, zipped(jsonl({"prompt": "Why?", "response": "So."},
                                                {"prompt": "How?", "response": "Thus."})), "data.jsonl.gz")]

    assert [dataset.kind for dataset in datasets] == ["dialogues"] * 3
    assert len({dataset.digest for dataset in datasets}) == 1  # the same rows, however they were written


def test_bad_rows_are_left_out_with_their_number_and_reason(team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "Why?"}, "{broken", {"prompt": ""}, {"prompt": "How?"}))

    assert (dataset.status, dataset.rows_read, dataset.rows_good, dataset.rows_bad) == ("ready", 4, 2, 2)
    reasons = dict(dataset.rejected_rows.values_list("number", "reason"))
    assert "invalid JSON" in reasons[2]
    assert reasons[3] == "the prompt is empty"


def test_only_the_first_bad_rows_are_kept_and_all_are_counted(
    team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "BATCH", 4)
    monkeypatch.setattr(importing, "KEPT_BAD_ROWS", 6)

    dataset = imported(team, owner, jsonl({"prompt": "Why?"}, *["{"] * 20))

    assert dataset.rows_bad == 20
    assert list(dataset.rejected_rows.values_list("number", flat=True)) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("body", "filename", "message"), [
    (b"no gzip", "data.jsonl.gz", "could not be read"),
    (b"", "data.jsonl", "has no rows"),
    (b"frage,antwort\nWarum?,Darum.\n", "data.csv", "None of the columns"),
    (b"PAR1 nonsense", "data.parquet", "Parquet"),
    (jsonl({"prompt": ""}, {"prompt": " "}), "data.jsonl", "None of the 2 rows"),
])
def test_a_file_that_cannot_be_used_says_why_and_what_to_do(
    team: Team, owner: User, body: bytes, filename: str, message: str,
) -> None:
    dataset = imported(team, owner, body, filename)

    assert dataset.status == "failed"
    assert message in dataset.error
    assert all(f"Row {row.number}: {row.reason}" in dataset.error for row in dataset.rejected_rows.all()[:1])
    assert dataset.error.count(".") >= 2  # a way out follows


def test_a_file_that_is_gone_is_an_error_too(team: Team, owner: User) -> None:
    dataset = upload(team, owner, pairs(1))
    path = services.source_path(dataset)
    assert path
    path.unlink()
    services.dataset_import_start(dataset=dataset, columns={})

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed" and "upload the file again" in dataset.error


def test_columns_mean_what_the_person_says(team: Team, owner: User) -> None:
    dataset = imported(team, owner, b"frage,antwort\nWarum?,Darum.\n", "data.csv", prompt="frage", response="antwort")

    assert dataset.kind == "dialogues"
    assert DatasetText.objects.get(row__dataset=dataset).chosen == "Darum."


def test_an_import_that_was_killed_goes_on_and_nothing_is_doubled(
    team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninterrupted = imported(team, owner, pairs(10))
    monkeypatch.setattr(importing, "BATCH", 3)
    dataset = upload(team, owner, pairs(10))
    services.dataset_import_start(dataset=dataset, columns={})

    def killed(*args: object) -> Iterator[Row]:
        rows = read_rows(*args[:3])  # type: ignore[arg-type]
        yield from [next(rows) for _ in range(7)]  # type: ignore[misc]
        raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(importing, "read_rows", killed)
        services.dataset_import(dataset_id=dataset.pk)
    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_read) == ("importing", 6)

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good, dataset.rows.count()) == ("ready", 10, 10)
    assert dataset.digest == uninterrupted.digest


def test_of_two_imports_at_once_one_lets_go(team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    dataset = upload(team, owner, pairs(6))
    services.dataset_import_start(dataset=dataset, columns={})
    late = Dataset.objects.get(pk=dataset.pk)
    services.dataset_import(dataset_id=dataset.pk)

    importing.run(late)  # it began before the other one ended

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows.count(), dataset.rows_good) == ("ready", 6, 6)


def test_a_dataset_deleted_under_an_import_ends_it(team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    dataset = upload(team, owner, pairs(6))
    services.dataset_import_start(dataset=dataset, columns={})
    running = Dataset.objects.get(pk=dataset.pk)
    real = importing.read_rows

    def deleted_half_way(*args: Any) -> Iterator[object]:
        for number, row in enumerate(real(*args)):
            if number == 3:
                services.dataset_delete(dataset=Dataset.objects.get(pk=dataset.pk))
            yield row
    monkeypatch.setattr(importing, "read_rows", deleted_half_way)

    importing.run(running)

    assert not Dataset.objects.filter(name="data").exists()
    assert not DatasetRow.objects.exists() and not RejectedRow.objects.exists()


def test_an_import_started_over_begins_with_nothing(team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl({"prompt": ""}))
    assert dataset.status == "failed"

    assert services.dataset_import_start(dataset=dataset, columns={})

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_read, dataset.rejected_rows.count(), dataset.error) == ("importing", 0, 0, "")


def test_what_is_ready_is_never_imported_again(team: Team, owner: User) -> None:
    dataset = imported(team, owner, pairs(2))

    assert not services.dataset_import_start(dataset=dataset, columns={})
    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good) == ("ready", 2)


def test_a_dataset_of_the_hub_is_read_by_its_id_and_split(
    team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def hub(*args: object) -> Iterator[Row]:
        asked.extend(args)
        yield Row([{"role": "user", "content": "Why?"}])
    monkeypatch.setattr(importing, "read_hub", hub)
    dataset = services.dataset_from_hub(team=team, user=owner, name="x", hub_id="org/data", split="test")

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert asked[:3] == ["org/data", "test", {}]
    assert dataset.status == "ready"


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_way_out(
    team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hub(*_: object) -> Iterator[Row]:
        raise BadData("The dataset 'org/data' could not be read from the hub.", "Check its name.")
        yield
    monkeypatch.setattr(importing, "read_hub", hub)
    dataset = services.dataset_from_hub(team=team, user=owner, name="x", hub_id="org/data", split="train")

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed" and "Check its name." in dataset.error


@pytest.mark.skipif(not HH.exists(), reason="the shared data is not here")
def test_the_hh_file_imports_as_it_is(team: Team, owner: User) -> None:
    dataset = imported(team, owner, HH.read_bytes(), HH.name)

    assert (dataset.status, dataset.kind, dataset.rows_read) == ("ready", "pairs", 1500)
    assert dataset.rows_good + dataset.rows_bad == 1500
    assert dataset.rows_bad <= 10  # empty replies, and dialogues that differ before the last one
    text = DatasetText.objects.filter(row__dataset=dataset).first()
    assert text and text.prompt[-1]["role"] == "user" and text.chosen != text.rejected
    assert json.dumps(text.prompt).count("Human:") == 0


def test_long_rows_make_small_batches(team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = importing._record
    monkeypatch.setattr(importing, "BATCH_BYTES", 500)
    monkeypatch.setattr(importing, "_record", lambda dataset, read, batch: (sizes.append(len(batch)),
                                                                             real(dataset, read, batch)))

    dataset = imported(team, owner, jsonl(*[{"prompt": "x" * 300}] * 6))

    assert (dataset.status, dataset.rows_good, sizes) == ("ready", 6, [2, 2, 2])
