"""A rule makes a new version: it is previewed, and the version has the rows that the preview counted."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, pairs
from webapp.accounts.models import Team, User
from webapp.datasets import curations, services
from webapp.datasets.models import Curation, Dataset, DatasetText
from webapp.datasets.rules import sample_of


@pytest.fixture(autouse=True)
def sent_tasks(sent: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Tests count the rows and make the versions themselves."""
    return sent


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    question = "Tell me the way to the station"
    return imported(team, owner, jsonl(
        {"prompt": question, "chosen": "Go left.", "rejected": "No idea."},
        {"prompt": question, "chosen": "Go left.", "rejected": "No idea."},  # an equal row
        {"prompt": question, "chosen": "Go right.", "rejected": "No idea."},  # an equal prompt
        {"prompt": question + "!", "chosen": "Go right.", "rejected": "A hat."},  # a nearly equal prompt
        {"prompt": question + "!", "chosen": "Go up the long hill.", "rejected": "A hat."},
        {"prompt": "Is tea hot?", "chosen": "Yes.", "rejected": "No."}))


def previewed(client: Client, dataset: Dataset, **fields: Any) -> str:
    """The page once the worker has counted."""
    address = reverse("datasets:curate", args=[dataset.pk])
    answer = client.post(address, fields)
    if answer.status_code != 302:
        return answer.content.decode()
    curations.curation_compute(curation_id=Curation.objects.get(saved_as=None, base=dataset).pk)
    return client.get(address).content.decode()


def made(client: Client, dataset: Dataset, **fields: Any) -> Dataset:
    """The version that the rule makes."""
    previewed(client, dataset, **fields)
    seen = Curation.objects.get(saved_as=None, base=dataset).pk
    client.post(reverse("datasets:curation_save", args=[dataset.pk]), {"seen": seen})
    version = Dataset.objects.latest("pk")
    services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    return version


def numbers_of(dataset: Dataset) -> list[int]:
    return list(dataset.rows.order_by("number").values_list("number", flat=True))


@pytest.mark.parametrize(("fields", "kept", "sentence"), [
    ({"kind": "deduplicate", "same": "rows"}, [1, 3, 4, 5, 6],
     "1 row dropped that repeat an earlier one: equal rows: prompt, responses and ratings"),
    ({"kind": "deduplicate", "same": "prompts"}, [1, 4, 6],
     "3 rows dropped that repeat an earlier one: rows with an equal prompt"),
    ({"kind": "deduplicate", "same": "near"}, [1, 2, 3, 6],
     "2 rows dropped that repeat an earlier one: rows with a nearly equal prompt (similarity of 0.8 or more)"),
    ({"kind": "filter", "response_longer": 2, "unit": "words"}, [1, 2, 3, 4, 6],
     "1 row dropped: a response of more than 2 words"),
    ({"kind": "filter", "prompt_longer": 30, "unit": "characters"}, [1, 2, 3, 6],
     "2 rows dropped: a prompt of more than 30 characters"),
    ({"kind": "filter", "search": "HAT", "unit": "words"}, [1, 2, 3, 6], "2 rows dropped: with the words “HAT”"),
    ({"kind": "filter", "search": "hat", "keep_found": "on", "unit": "words"}, [4, 5],
     "4 rows dropped: without the words “hat”"),
    ({"kind": "filter", "search": "hat", "response_longer": 2, "equal": "on", "unit": "words"}, [1, 2, 3, 6],
     "2 rows dropped: equal responses, or a response of more than 2 words, or with the words “hat”"),
])
def test_each_rule_keeps_the_rows_it_says(
        owner_client: Client, dataset: Dataset, fields: dict[str, Any], kept: list[int], sentence: str) -> None:
    page = previewed(owner_client, dataset, **fields)
    assert f'<span class="value">{len(kept)}</span>' in page and f"The version will say: {sentence}." in page
    assert numbers_of(dataset) == [1, 2, 3, 4, 5, 6]

    version = made(owner_client, dataset, **fields)

    assert (version.status, version.version, version.made_from, numbers_of(version)) == ("ready", 2, dataset, kept)
    assert (version.rows_excluded, version.made_by) == (6 - len(kept), sentence)
    detail = owner_client.get(reverse("datasets:detail", args=[version.pk])).content.decode()
    assert f'{sentence}; made from <a href="/datasets/{dataset.pk}/">version 1</a>' in detail


def test_empty_and_equal_responses_are_dropped(owner_client: Client, dataset: Dataset) -> None:
    DatasetText.objects.filter(row__dataset=dataset, row__number=2).update(rejected="  ")
    DatasetText.objects.filter(row__dataset=dataset, row__number=6).update(rejected="Yes. ")

    version = made(owner_client, dataset, kind="filter", empty="on", equal="on", unit="words")

    assert numbers_of(version) == [1, 3, 4, 5]


def test_a_sample_is_the_same_for_its_seed_and_a_larger_one_holds_it(owner_client: Client, dataset: Dataset) -> None:
    first, again, other = (made(owner_client, dataset, kind="sample", rows=3, seed=seed) for seed in (1, 1, 2))

    assert first.rows_good == 3 and numbers_of(first) == numbers_of(again) == sorted(numbers_of(first))
    assert first.digest == again.digest and first.made_by == "3 rows drawn with seed 1"
    assert numbers_of(first) == sorted(sample_of(range(1, 7), 3, 1))
    assert set(numbers_of(first)) < set(sample_of(range(1, 7), 4, 1))
    assert set(sample_of(range(1, 100), 3, 1)) != set(sample_of(range(1, 100), 3, 2))
    assert other.rows_good == 3


def test_rows_of_another_dataset_come_after_with_their_ratings(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    rated = imported(team, owner, jsonl({"prompt": "Is ice cold?", "chosen": "Yes.", "rejected": "No.",
                                         "ratings": {"honesty": [4, 2]}}))

    version = made(owner_client, dataset, kind="merge", merged=rated.pk)

    assert numbers_of(version) == [1, 2, 3, 4, 5, 6, 7] and version.rows_added == 1
    assert version.made_by == "1 row of “data” added"
    added = version.rows.select_related("text", "rated").get(number=7)
    assert (added.text.chosen, added.rated.ratings) == ("Yes.", {"honesty": [4, 2]})
    assert version.aspects == {"honesty": 1}


def test_only_datasets_of_the_team_and_of_a_kind_that_fits_can_be_added(
        owner_client: Client, owner: User, team: Team, dataset: Dataset, stranger: User, other_team: Team) -> None:
    theirs = imported(other_team, stranger, pairs(2))
    prompts = imported(team, owner, jsonl({"prompt": "Why?"}))
    undecided = imported(team, owner, jsonl({"prompt": "Why?", "response_a": "So.", "response_b": "Thus."}))

    assert list(curations.mergeable(dataset)) == [undecided]
    for other in (theirs, prompts, dataset):
        page = previewed(owner_client, dataset, kind="merge", merged=other.pk)
        assert "Select a valid choice" in page and not Curation.objects.exists()


def test_what_was_added_cannot_be_deleted_while_it_is_added(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    other = imported(team, owner, pairs(2))
    previewed(owner_client, dataset, kind="merge", merged=other.pk)
    curation = Curation.objects.get()
    version = curations.curation_save(dataset=dataset, user=owner, seen=curation.pk)

    with pytest.raises(services.DatasetInUse, match="its rows are being added to “data, version 2”"):
        services.dataset_delete(dataset=other)
    services.dataset_import(dataset_id=version.pk)
    services.dataset_delete(dataset=other)
    assert Curation.objects.get().merged is None and version.rows.count() == 8


@pytest.mark.parametrize(("fields", "says"), [
    ({"kind": "sample", "rows": 6, "seed": 0}, "6 is not fewer than the 6 rows of this dataset."),
    ({"kind": "sample", "rows": 0, "seed": 0}, "greater than or equal to 1"),
    ({"kind": "filter", "unit": "words"}, "Nothing is chosen, so no row would be dropped."),
    ({"kind": "filter", "unit": "words", "keep_found": "on"}, "Give the words that rows must have to stay."),
    ({"kind": "filter", "unit": "gone", "empty": "on"}, "Select a valid choice"),
    ({"kind": "deduplicate", "same": "all"}, "Select a valid choice"),
    ({"kind": "shuffle"}, "No rule is chosen."),
])
def test_a_rule_that_cannot_be_is_refused_in_words(
        owner_client: Client, dataset: Dataset, fields: dict[str, Any], says: str) -> None:
    assert says in previewed(owner_client, dataset, **fields)
    assert not Curation.objects.exists()


@pytest.mark.parametrize(("search", "keep_found", "says"), [
    ("nowhere", "", "Every row stays, so a new version would be the same."),
    ("nowhere", "on", "No row would be left."),
])
def test_a_version_that_is_the_same_or_empty_is_not_made(
        owner_client: Client, dataset: Dataset, search: str, keep_found: str, says: str) -> None:
    previewed(owner_client, dataset, kind="filter", unit="words", search=search, keep_found=keep_found)

    answer = owner_client.post(reverse("datasets:curation_save", args=[dataset.pk]),
                               {"seen": Curation.objects.get().pk}, follow=True)

    assert says in answer.content.decode() and Dataset.objects.count() == 1


def test_only_the_preview_that_was_seen_is_saved(owner_client: Client, dataset: Dataset) -> None:
    save = reverse("datasets:curation_save", args=[dataset.pk])
    previewed(owner_client, dataset, kind="deduplicate", same="rows")
    seen = Curation.objects.get().pk
    owner_client.post(reverse("datasets:curate", args=[dataset.pk]), {"kind": "deduplicate", "same": "near"})

    for value, says in ((seen, "was replaced or saved by somebody"), ("x", "was replaced or saved by somebody"),
                        (Curation.objects.get().pk, "The preview is not ready yet.")):
        assert says in owner_client.post(save, {"seen": value}, follow=True).content.decode()
    assert Dataset.objects.count() == 1
    owner_client.post(reverse("datasets:curation_discard", args=[dataset.pk]))
    assert not Curation.objects.exists()


def test_the_open_draft_is_left_alone(owner_client: Client, owner: User, dataset: Dataset) -> None:
    from webapp.datasets import drafts
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number=6))

    page = previewed(owner_client, dataset, kind="deduplicate", same="rows")
    version = made(owner_client, dataset, kind="deduplicate", same="rows")

    assert "Rules work on the rows as they are, without the draft." in page
    assert numbers_of(version) == [1, 3, 4, 5, 6] and drafts.draft_of(dataset) is not None


def test_the_page_takes_as_many_queries_with_more_rows(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    counts = []
    for each in (dataset, imported(team, owner, pairs(150))):
        previewed(owner_client, each, kind="deduplicate", same="near")
        with CaptureQueriesContext(connection) as queries:
            owner_client.get(reverse("datasets:curate", args=[each.pk]))
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_dataset_that_was_deleted_after_the_preview_is_not_added(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    other = imported(team, owner, pairs(2))
    previewed(owner_client, dataset, kind="merge", merged=other.pk)
    services.dataset_delete(dataset=other)

    with pytest.raises(curations.CurationRefused, match="no longer exists. Choose another."):
        curations.curation_save(dataset=dataset, user=owner, seen=Curation.objects.get().pk)


def test_another_team_reaches_neither_rules_nor_differences_nor_profile(
        owner_client: Client, stranger_client: Client, dataset: Dataset, other_team: Team) -> None:
    previewed(owner_client, dataset, kind="deduplicate", same="rows")
    seen = {"seen": Curation.objects.get().pk}

    for name in ("curate", "differences", "profile"):
        assert stranger_client.get(reverse(f"datasets:{name}", args=[dataset.pk])).status_code == 404
    for name in ("curate", "profile", "curation_save", "curation_discard"):
        assert stranger_client.post(reverse(f"datasets:{name}", args=[dataset.pk]), seen).status_code == 404
    assert Curation.objects.filter(saved_as=None).count() == 1 and Dataset.objects.count() == 1
