"""A draft collects what the team wants to change in a dataset's rows; the dataset itself stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, pairs
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, DatasetText, Draft, EditedRow, ExcludedRow


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, pairs(30))


def post(client: Client, name: str, dataset: Dataset, *more: int, query: str = "", **fields: str) -> Any:
    return client.post(reverse(f"datasets:{name}", args=[dataset.pk, *more]) + query, fields, follow=True)


def page_of(client: Client, dataset: Dataset, **query: str) -> str:
    return client.get(reverse("datasets:detail", args=[dataset.pk]), query).content.decode()


def excluded() -> list[int]:
    return list(ExcludedRow.objects.order_by("number").values_list("number", flat=True))


def test_a_row_is_excluded_and_put_back_on_the_page_where_one_was(owner_client: Client, dataset: Dataset) -> None:
    answer = post(owner_client, "row_exclude", dataset, 27, query="?q=what&page=2")
    page = answer.content.decode()

    assert excluded() == [27] and "1 row excluded." in page
    assert "26 to 30 of 30" in page and 'id="row-27" open' in page and "Excluded" in page
    assert answer.redirect_chain[-1][0].endswith("#row-27")

    post(owner_client, "row_exclude", dataset, 27, put_back="1")
    assert not excluded() and not Draft.objects.exists()


def test_a_teammate_sees_who_changed_what(owner_client: Client, teammate_client: Client, dataset: Dataset) -> None:
    post(owner_client, "row_exclude", dataset, 2)
    post(teammate_client, "row_edit", dataset, 1, message_0="What is nothing?", chosen="It is 0.", rejected="No.")

    page = page_of(owner_client, dataset)

    assert "Draft of the next version: 1 row excluded, 1 edited." in page and "by teammate" in page
    assert "What is nothing?" in page and "Before the edit" in page and "What is 0?" in page
    assert "by owner" in page


def test_all_rows_that_match_are_excluded_after_their_number_was_confirmed(
        owner_client: Client, dataset: Dataset) -> None:
    asked = post(owner_client, "matching_exclude", dataset, query="?q=is+1").content.decode()

    assert "Exclude 12 rows that match “is 1”?" in asked and not excluded()

    page = post(owner_client, "matching_exclude", dataset, query="?q=is+1", confirmed="1").content.decode()
    assert excluded() == [2, *range(11, 21), 22] and "12 rows excluded." in page  # 1, 10 to 19, 21

    post(owner_client, "matching_exclude", dataset, query="?q=is+19&changed=excluded", put_back="1", confirmed="1")
    assert excluded() == [2, *range(11, 20), 22]


def test_without_words_not_all_rows_are_meant(owner_client: Client, dataset: Dataset) -> None:
    page = post(owner_client, "matching_exclude", dataset, query="?q=++", confirmed="1").content.decode()

    assert "Search first" in page and not excluded()


def test_excluding_what_nobody_changed_changes_nothing(owner_client: Client, dataset: Dataset) -> None:
    page = post(owner_client, "matching_exclude", dataset, query="?changed=edited", confirmed="1").content.decode()

    assert "0 rows excluded." in page and not Draft.objects.exists()


def test_changed_rows_can_be_looked_at_alone(owner_client: Client, dataset: Dataset) -> None:
    post(owner_client, "row_exclude", dataset, 3)
    post(owner_client, "row_edit", dataset, 5, message_0="Who?", chosen="You.", rejected="Me.")

    any_change = page_of(owner_client, dataset, changed="any")
    only_edited = page_of(owner_client, dataset, changed="edited")

    assert 'id="row-3"' in any_change and 'id="row-5"' in any_change and 'id="row-1"' not in any_change
    assert 'id="row-5"' in only_edited and 'id="row-3"' not in only_edited
    assert 'id="row-5"' in page_of(owner_client, dataset, q="who YOU"), "found by its new words"
    assert 'id="row-5"' in page_of(owner_client, dataset, q="is 4"), "and by those of the dataset"


def test_a_dataset_itself_never_changes(owner_client: Client, dataset: Dataset) -> None:
    before = list(DatasetText.objects.values_list("row", "prompt", "chosen", "rejected"))
    post(owner_client, "row_exclude", dataset, 3)
    post(owner_client, "row_edit", dataset, 5, message_0="Who?", chosen="You.", rejected="Me.")

    assert list(DatasetText.objects.values_list("row", "prompt", "chosen", "rejected")) == before
    assert Dataset.objects.get(pk=dataset.pk).digest == dataset.digest


def test_discarding_asks_and_then_forgets_everything(owner_client: Client, dataset: Dataset) -> None:
    post(owner_client, "row_exclude", dataset, 3)
    post(owner_client, "row_edit", dataset, 5, message_0="Who?", chosen="You.", rejected="Me.")

    asked = post(owner_client, "draft_discard", dataset).content.decode()
    assert "1 row excluded, 1 edited" in asked and Draft.objects.exists()

    post(owner_client, "draft_discard", dataset, confirmed="1")
    assert not Draft.objects.exists() and not excluded() and not EditedRow.objects.exists()


def test_rows_that_are_not_there_cannot_be_changed(owner_client: Client, dataset: Dataset) -> None:
    for name in ("row_exclude", "row_edit"):
        assert post(owner_client, name, dataset, 31).status_code == 404
    Dataset.objects.update(status="importing")
    assert post(owner_client, "row_exclude", dataset, 1).status_code == 404
    assert not Draft.objects.exists()


def test_a_page_takes_as_many_queries_for_many_changes(owner_client: Client, owner: User, team: Team) -> None:
    counts = []
    for rows in (2, 60):
        dataset = imported(team, owner, jsonl(*({"prompt": f"Why {n}?", "response": "So."} for n in range(rows))))
        draft = Draft.objects.create(base=dataset, changed_by=owner)
        for number in range(1, rows, 2):
            ExcludedRow.objects.create(draft=draft, number=number, by=owner)
            EditedRow.objects.create(draft=draft, number=number + 1, prompt=[{"role": "user", "content": "Who?"}],
                                     chosen="So.", words="who? so.", by=owner)
        with CaptureQueriesContext(connection) as queries:
            page_of(owner_client, dataset, q="wh", changed="any")
        counts.append(len(queries))
    assert counts[0] == counts[1]
