"""The page of a version says which rows differ from the version below: dropped, edited, added, a page at a time."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.datasets.files import imported, pairs
from webapp.accounts.models import Team, User
from webapp.datasets import curations, drafts, services
from webapp.datasets.models import Dataset


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, pairs(60))


def saved(client: Client, dataset: Dataset, user: User, *numbers: int) -> Dataset:
    """The version without these rows."""
    drafts.rows_exclude(dataset=dataset, user=user, rows=dataset.rows.filter(number__in=numbers))
    client.post(reverse("datasets:draft_save", args=[dataset.pk]))
    services.dataset_import(dataset_id=Dataset.objects.latest("pk").pk)
    return Dataset.objects.latest("pk")


def page_of(client: Client, version: Dataset, which: str = "", page: str = "") -> str:
    address = reverse("datasets:differences", args=[version.pk])
    return client.get(address, {"which": which, "page": page}).content.decode()


def numbers_in(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'id="row-(\d+)"', page)]


def test_dropped_and_edited_rows_are_shown_as_they_were_and_are(
        owner_client: Client, owner: User, dataset: Dataset) -> None:
    for number in (2, 4):
        owner_client.post(reverse("datasets:row_edit", args=[dataset.pk, number]),
                          {"message_0": f"Who is {number}?", "chosen": "You.", "rejected": "Me."})
    version = saved(owner_client, dataset, owner, 4, 5)  # row 4 is edited and then dropped

    dropped = page_of(owner_client, version)
    assert numbers_in(dropped) == [4, 5] and "What is 3?" in dropped and "Who is 4?" not in dropped
    edited = page_of(owner_client, version, "edited")
    assert numbers_in(edited) == [2]
    before, after = edited.index("What is 1?"), edited.index("Who is 2?")
    assert after < edited.index("Before the edit") < before
    assert "No row was added." in page_of(owner_client, version, "added")


def test_many_rows_are_paged_with_as_many_queries(owner_client: Client, owner: User, dataset: Dataset) -> None:
    many = saved(owner_client, dataset, owner, *range(1, 31))
    few = saved(owner_client, many, owner, 31)

    assert numbers_in(page_of(owner_client, many)) == list(range(1, 26))
    assert numbers_in(page_of(owner_client, many, "dropped", "2")) == list(range(26, 31))
    assert numbers_in(page_of(owner_client, few)) == [31]  # from version 2, not from version 1
    counts = []
    for version in (many, few):
        with CaptureQueriesContext(connection) as queries:
            page_of(owner_client, version)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_added_rows_are_those_of_the_other_dataset(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    other = imported(team, owner, pairs(2))
    curation = curations.curation_start(dataset=dataset, user=owner, rule={"kind": "merge"}, merged=other)
    curations.curation_compute(curation_id=curation.pk)
    version = curations.curation_save(dataset=dataset, user=owner, seen=curation.pk)
    services.dataset_import(dataset_id=version.pk)

    assert numbers_in(page_of(owner_client, version)) == [61, 62]  # the only kind of difference comes first
    assert "No row was dropped." in page_of(owner_client, version, "dropped")


def test_a_version_whose_parent_is_deleted_says_so(owner_client: Client, owner: User, dataset: Dataset) -> None:
    version = saved(owner_client, dataset, owner, 1)
    services.dataset_delete(dataset=dataset)

    page = page_of(owner_client, version)

    assert "Version 1, which this one is made from, was deleted." in page and "Dropped 1" in page
