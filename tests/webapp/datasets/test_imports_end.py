"""Every import ends: with its rows, or with a message that says what happened and what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import DataError, InterfaceError, OperationalError
from django.utils import timezone

from tests.webapp.datasets.files import jsonl, pairs, upload
from training.data.rows import BadRow, Row
from webapp.accounts.models import Team, User
from webapp.datasets import importing, services
from webapp.datasets.models import Dataset, DatasetText


@pytest.fixture(autouse=True)
def sent_tasks(sent: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Tests call the import themselves."""
    return sent


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    """A dataset that waits for its import."""
    dataset = upload(team, owner, pairs(6))
    services.dataset_import_start(dataset=dataset, columns={})
    return dataset


def raising(error: BaseException) -> Callable[..., Iterator[Row]]:
    def rows(*_: object) -> Iterator[Row]:
        yield Row([{"role": "user", "content": "Why?"}])
        raise error
    return rows


@pytest.mark.parametrize("error", [
    UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed"), RecursionError("too deep"), MemoryError(),
    OverflowError("date value out of range"), KeyError("row\x00"), DataError("no NUL in a text"),
    OSError(28, "no space"), AssertionError(),
])
def test_whatever_goes_wrong_ends_the_import_with_a_message(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception,
) -> None:
    monkeypatch.setattr(importing, "read_rows", raising(error))

    with caplog.at_level(logging.ERROR):
        services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed"
    assert type(error).__name__ in dataset.error and "try again or report the error" in dataset.error
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("error", [OperationalError("the server went away"), InterfaceError("closed")])
def test_while_the_database_is_away_the_import_is_tried_again_and_at_most_five_times(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importing, "read_rows", raising(error))
        for _ in range(importing.MAX_ATTEMPTS):
            with pytest.raises(type(error)):
                services.dataset_import(dataset_id=dataset.pk)
        dataset.refresh_from_db()
        assert dataset.status == "importing"

        services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed" and "stopped 5 times" in dataset.error and "try again" in dataset.error
    services.dataset_import_start(dataset=dataset, columns={})
    services.dataset_import(dataset_id=dataset.pk)
    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good) == ("ready", 6)


def test_an_import_that_moves_on_may_be_tried_as_often_as_it_takes(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    real = importing.read_rows

    def one_row_further(*args: object) -> Iterator[Row | BadRow]:
        read = Dataset.objects.get(pk=dataset.pk).rows_read
        for number, row in enumerate(real(*args), 1):  # type: ignore[arg-type]
            yield row
            if number == read + 1:
                raise OperationalError("the server went away")
    monkeypatch.setattr(importing, "read_rows", one_row_further)
    monkeypatch.setattr(importing, "MAX_ATTEMPTS", 2)
    for _ in range(6):
        with pytest.raises(OperationalError):
            services.dataset_import(dataset_id=dataset.pk)
    monkeypatch.setattr(importing, "read_rows", real)

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good) == ("ready", 6)


def test_a_message_that_comes_twice_starts_nothing_beside_a_worker_that_is_alive(
    dataset: Dataset, sent_tasks: list[tuple[object, ...]],
) -> None:
    Dataset.objects.update(claim="another worker", heartbeat_at=timezone.now())
    services.dataset_import(dataset_id=dataset.pk)
    services.imports_requeue()

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_read, dataset.attempts) == ("importing", 0, 0)
    assert not sent_tasks


def test_a_worker_that_was_killed_is_followed_by_another(dataset: Dataset) -> None:
    Dataset.objects.update(claim="a worker that was killed", heartbeat_at=timezone.now() - timedelta(minutes=2))

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good, dataset.claim) == ("ready", 6, "")


def test_a_worker_that_lost_its_claim_lets_go(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_path: object, _name: str, _columns: object, heartbeat: Callable[[], None]) -> Iterator[Row]:
        yield Row([{"role": "user", "content": "Why?"}])
        Dataset.objects.update(claim="another worker")
        heartbeat()
        raise AssertionError("it went on without its claim")
    monkeypatch.setattr(importing, "read_rows", slow)

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.claim, dataset.rows_read) == ("importing", "another worker", 0)


def test_the_same_characters_are_refused_on_every_database(team: Team, owner: User) -> None:
    dataset = upload(team, owner, jsonl(
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": "So\x00.", "rejected": "No."},
        r'{"prompt": [{"role": "user", "content": "Cut \udc4d"}], "chosen": "So.", "rejected": "No."}',
        {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "no\x00te": "a\x00b"},
        r'{"prompt": "Why?", "chosen": "So.", "rejected": "No.", "note \ud800": "\ud800"}',
        r'{"prompt": [{"role": "na\ud800me", "content": "Why?"}], "chosen": "So.", "rejected": "No."}'))
    services.dataset_import_start(dataset=dataset, columns={})

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert (dataset.status, dataset.rows_good, dataset.rows_bad) == ("ready", 3, 3)
    reasons = dict(dataset.rejected_rows.values_list("number", "reason"))
    assert "chosen response holds a NUL" in reasons[2] and "prompt holds half of a character" in reasons[3]
    assert reasons[6].startswith("a message has the role")
    assert DatasetText.objects.filter(row__dataset=dataset).count() == 3


def test_an_import_without_a_single_good_row_ends_early(
    team: Team, owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importing, "BATCH", 3)
    monkeypatch.setattr(importing, "HOPELESS_ROWS", 5)
    hopeless = upload(team, owner, jsonl(*[{"prompt": ""}] * 50))
    late = upload(team, owner, jsonl(*[{"prompt": ""}] * 4, *[{"prompt": "Why?"}] * 3))
    for dataset in (hopeless, late):
        services.dataset_import_start(dataset=dataset, columns={})
        services.dataset_import(dataset_id=dataset.pk)
        dataset.refresh_from_db()

    assert (hopeless.status, hopeless.rows_read) == ("failed", 6)
    assert "None of the first 6 rows could be used. Row 1: the prompt is empty. Read the reasons" in hopeless.error
    assert (late.status, late.rows_good, late.rows_bad) == ("ready", 3, 4)


def test_a_file_that_ends_its_reader_fails_with_a_way_out(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch,
) -> None:
    from training.data import reader_process

    monkeypatch.setattr(reader_process, "ROWS_MEMORY", 1_000_000)  # less than Python itself takes

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed" and dataset.error.count(".") >= 2


def test_a_source_that_goes_silent_is_given_up(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import reader_process

    monkeypatch.setattr(reader_process, "STALL", 0.0)
    monkeypatch.setattr(reader_process, "_TICK", 0.001)

    services.dataset_import(dataset_id=dataset.pk)

    dataset.refresh_from_db()
    assert dataset.status == "failed" and "no row came" in dataset.error
