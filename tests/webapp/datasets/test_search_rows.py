"""Rows are found by their words: in any case, in any script, on every database, a page at a time."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, pairs, upload
from webapp.accounts.models import Team, User
from webapp.datasets import row_pages, services
from webapp.datasets.models import Dataset, RowWords
from webapp.datasets.searching import words_restore


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, jsonl(
        {"prompt": "Where is the CAFÉ?", "chosen": "Around the corner.", "rejected": "No idea."},
        {"prompt": "What costs 100%_off?", "chosen": "Nothing.", "rejected": "Everything in the corner shop."},
        {"prompt": [{"role": "system", "content": "Answer in Japanese."}, {"role": "user", "content": "東京はどこ?"}],
         "chosen": "日本です。", "rejected": "Straße"}))


def search(client: Client, dataset: Dataset, words: str, **more: str) -> str:
    return client.get(reverse("datasets:detail", args=[dataset.pk]), {"q": words} | more).content.decode()


@pytest.mark.parametrize(("words", "found"), [
    ("café", ["CAFÉ"]),
    ("CAFE\N{COMBINING ACUTE ACCENT}", ["CAFÉ"]),  # the same letter, spelt as two
    ("corner", ["CAFÉ", "100%_off"]),  # in a chosen and in a rejected response
    ("corner SHOP", ["100%_off"]),  # every word, wherever it stands
    ("100%_", ["100%_off"]),  # no wildcards
    ("京はど", ["東京"]),
    ("strasse", ["東京"]),
    ("japanese", ["東京"]),  # the system message
])
def test_rows_are_found_by_all_words_wherever_they_stand(
        owner_client: Client, dataset: Dataset, words: str, found: list[str]) -> None:
    page = search(owner_client, dataset, words)

    assert [mark for mark in ("CAFÉ", "100%_off", "東京") if mark in page.partition('class="rows"')[2]] == found
    assert f"{len(found)} row{'s match' if len(found) > 1 else ' matches'}" in page


def test_words_that_no_row_has_say_what_to_do(owner_client: Client, dataset: Dataset) -> None:
    page = search(owner_client, dataset, "<b>nowhere")

    assert "No row contains “&lt;b&gt;nowhere”" in page and "Show all rows" in page


@pytest.mark.parametrize("words", ["", "   ", "a\x00b", "x" * 5000, "\\", "'; --"])
def test_odd_words_break_nothing(owner_client: Client, dataset: Dataset, words: str) -> None:
    assert owner_client.get(reverse("datasets:detail", args=[dataset.pk]), {"q": words}).status_code == 200


def test_the_words_stay_in_the_address_from_page_to_page(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, jsonl(*({"prompt": f"What is {n}?"} for n in range(30)), {"prompt": "Why?"}))

    first = search(owner_client, dataset, "What")
    second = search(owner_client, dataset, "What", page="2")

    assert "30 rows match" in first and 'href="?q=What&amp;page=2"' in first
    assert "26 to 30 of 30" in second and "What is 29?" in second and 'value="What"' in second


def test_a_search_stops_where_nobody_pages_to(
        owner_client: Client, owner: User, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_pages, "MOST_FOUND", 3)
    dataset = imported(team, owner, pairs(5))

    page = search(owner_client, dataset, "what")

    assert "More than 3 rows match" in page and "The first 3 are listed" in page and "It is 3." not in page


def test_a_search_takes_as_many_queries_for_many_rows(owner_client: Client, owner: User, team: Team) -> None:
    counts = []
    for rows in (1, 60):
        dataset = imported(team, owner, pairs(rows))
        with CaptureQueriesContext(connection) as queries:
            search(owner_client, dataset, "what")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_another_dataset_and_another_team_are_not_searched(
        stranger_client: Client, owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    other = imported(team, owner, pairs(2))

    assert "No row contains" in search(owner_client, other, "café")
    assert "CAFÉ" not in search(stranger_client, dataset, "café")


def test_deleting_and_importing_again_take_the_words_along(team: Team, owner: User, dataset: Dataset) -> None:
    again = upload(team, owner, pairs(2))
    for _ in range(2):
        services.dataset_import_start(dataset=again, columns={})
    services.dataset_import(dataset_id=again.pk)
    services.dataset_delete(dataset=dataset)

    assert list(RowWords.objects.values_list("dataset", "number").order_by("number")) == [(again.pk, 1), (again.pk, 2)]


def test_a_restored_backup_without_words_is_given_them(owner_client: Client, dataset: Dataset) -> None:
    before = list(RowWords.objects.order_by("number").values_list("number", "words"))
    RowWords.objects.all().delete()

    words_restore()
    words_restore()

    assert list(RowWords.objects.order_by("number").values_list("number", "words")) == before


def test_the_migration_makes_the_words_of_rows_that_are_here_already(dataset: Dataset) -> None:
    before = list(RowWords.objects.order_by("number").values_list("dataset", "number", "words"))
    RowWords.objects.all().delete()

    import_module("webapp.datasets.migrations.0005_row_words").make_words(apps, None)

    assert list(RowWords.objects.order_by("number").values_list("dataset", "number", "words")) == before
