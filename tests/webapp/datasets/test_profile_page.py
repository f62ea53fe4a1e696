"""The profile of a dataset is asked for, computed once by a worker, stored, and shown with few queries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.webapp.datasets.files import imported, jsonl, pairs
from webapp.accounts.models import Team, User
from webapp.datasets import computing, profiles
from webapp.datasets.length_bars import histogram
from webapp.datasets.models import Dataset, DatasetProfile


@pytest.fixture(autouse=True)
def sent_tasks(sent: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Tests compute the profiles themselves."""
    return sent


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    """Five rows: the second repeats the first, the third nearly repeats its prompt, the chosen one is longer twice."""
    question = "Tell me the way to the station"
    return imported(team, owner, jsonl(
        *({"prompt": question, "chosen": "Go left there.", "rejected": "No idea."} for _ in range(2)),
        {"prompt": question + "!", "chosen": "Left.", "rejected": "Who knows that?"},
        {"prompt": "Is tea hot?", "chosen": "Yes.", "rejected": "No."},
        {"prompt": "Is ice cold?", "chosen": "Yes.", "rejected": "No."}))


def address(dataset: Dataset) -> str:
    return reverse("datasets:profile", args=[dataset.pk])


def page_of(client: Client, dataset: Dataset) -> str:
    return client.get(address(dataset)).content.decode()


def computed(client: Client, dataset: Dataset, unit: str = "words") -> DatasetProfile:
    client.post(address(dataset), {"unit": unit})
    profile = DatasetProfile.objects.get(dataset=dataset)
    profiles.profile_compute(profile_id=profile.pk)
    profile.refresh_from_db()
    return profile


def test_it_is_not_computed_then_being_computed_then_there(
        owner_client: Client, dataset: Dataset, sent_tasks: list[Any], django_capture_on_commit_callbacks: Any) -> None:
    assert "Not computed yet" in page_of(owner_client, dataset)

    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(address(dataset), {"unit": "words"})
        owner_client.post(address(dataset), {"unit": "words"})  # a second click
    profile = DatasetProfile.objects.get()
    assert ("workers.profile_dataset", (profile.pk,), "jobs") in sent_tasks
    assert len([task for task in sent_tasks if task[0] == "workers.profile_dataset"]) == 1
    assert "Computing the profile" in page_of(owner_client, dataset)

    profiles.profile_compute(profile_id=profile.pk)
    page = page_of(owner_client, dataset)
    assert "Computing the profile" not in page and "Computed <time" in page


def test_the_numbers_are_those_of_the_rows(owner_client: Client, dataset: Dataset) -> None:
    result = computed(owner_client, dataset).result

    assert (result["rows"], result["prompts"], result["repeated_rows"], result["repeated_prompts"]) == (5, 4, 1, 1)
    assert (result["near_prompts"], result["near_examples"][0][:2]) == (1, [3, 1])
    assert (result["longer_chosen"], result["shorter_chosen"], result["empty"], result["equal"]) == (2, 1, 0, 0)
    assert (result["prompt_length"]["median"], result["prompt_length"]["p95"]) == (7, 7)  # 3, 3, 7, 7 and 7 words
    page = page_of(owner_client, dataset)
    assert 'aria-label="Prompt length, words: 2–3: 2, 4–7: 3"' in page
    assert 'aria-label="Turns per prompt, turns: 1: 5"' in page
    assert "Make a version without these rows" in page


def test_more_rows_take_no_more_queries(owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    larger = imported(team, owner, pairs(120))
    counts = []
    for each in (dataset, larger):
        computed(owner_client, each)
        with CaptureQueriesContext(connection) as queries:
            page_of(owner_client, each)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_another_unit_replaces_it_and_a_tokenizer_that_is_not_there_is_refused(
        owner_client: Client, dataset: Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert computed(owner_client, dataset, "characters").result["prompt_length"]["most"] == 31
    assert computed(owner_client, dataset, "demo-world").result["prompt_length"]["values"] == 5
    answer = owner_client.post(address(dataset), {"unit": "../../etc"}, follow=True)
    assert "“../../etc” is no tokenizer on this server." in answer.content.decode()
    assert DatasetProfile.objects.get().unit == "demo-world"

    monkeypatch.setattr(settings, "VAR", tmp_path)
    (tmp_path / "models" / "small").mkdir(parents=True)
    (tmp_path / "models" / "small" / "tokenizer.json").write_text("{}")
    assert computed(owner_client, dataset, "small").status == "failed"
    page = page_of(owner_client, dataset)
    assert "The profile could not be computed." in page and "tokenizer of &#x27;small&#x27; cannot be read" in page
    assert "Traceback" not in page


def test_a_bug_becomes_a_sentence(
        owner_client: Client, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "rows_of", lambda *_: 1 / 0)

    profile = computed(owner_client, dataset)

    assert profile.status == "failed" and profile.error.startswith("An unexpected error: ZeroDivisionError")


def test_lost_work_is_sent_again_and_ends(
        owner_client: Client, dataset: Dataset, sent_tasks: list[Any], django_capture_on_commit_callbacks: Any) -> None:
    owner_client.post(address(dataset), {"unit": "words"})
    profile = DatasetProfile.objects.get()
    silent = timezone.now() - timedelta(minutes=2)
    for attempt in range(1, computing.MAX_ATTEMPTS + 1):
        DatasetProfile.objects.update(heartbeat_at=silent, claim="dead", attempts=attempt)
        sent_tasks.clear()
        with django_capture_on_commit_callbacks(execute=True):
            computing.computations_send_again()
            computing.computations_send_again()  # another worker, at the same time
        assert sent_tasks == [("workers.profile_dataset", (profile.pk,), "jobs")]

    profiles.profile_compute(profile_id=profile.pk)
    profile.refresh_from_db()
    assert profile.status == "failed" and "the worker was killed" in profile.error


def test_a_worker_that_lost_its_claim_writes_nothing(
        owner_client: Client, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of = profiles.rows_of

    def meanwhile(*given: Any) -> Any:
        owner_client.post(address(dataset), {"unit": "characters"})
        return rows_of(*given)
    monkeypatch.setattr(profiles, "rows_of", meanwhile)

    profile = computed(owner_client, dataset)

    assert (profile.status, profile.unit, profile.result) == ("computing", "characters", {})


def test_the_highest_bar_fills_the_drawing_and_a_small_one_is_seen() -> None:
    drawing = histogram([[1, 1, 400], [2, 3, 1], [4, 7, 0], [1024, 2047, 100]])

    assert [(bar.y, bar.height) for bar in drawing.bars] == [(0, 100), (99, 1), (100, 0), (75, 25)]
    assert [bar.label for bar in drawing.bars] == ["1", "2", "4", "1k"]
    assert drawing.in_words == "1: 400, 2–3: 1, 4–7: 0, 1,024–2,047: 100"
