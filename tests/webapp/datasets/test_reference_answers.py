"""The reference answer of a row: chosen on the page of columns, shown, edited, downloaded, and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, upload
from training.data.reading import read_rows
from training.data.rows import Row
from webapp.accounts.models import Team, User
from webapp.datasets import drafts, selectors, services
from webapp.datasets.models import Dataset, DatasetText, EditedRow
from webapp.runs.stage_inputs import dataset_rows

SUMS = jsonl({"prompt": "What is 2 + 3?", "ground_truth": 5}, {"prompt": "What is 4 + 4?", "ground_truth": "8"},
             {"prompt": "How are you?"})


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


def references_of(dataset: Dataset) -> list[str]:
    return list(DatasetText.objects.filter(row__dataset=dataset).order_by("row__number").values_list(
        "reference", flat=True))


def page_of(client: Client, name: str, *keys: int) -> str:
    return client.get(reverse(f"datasets:{name}", args=keys)).content.decode()


def test_an_import_keeps_them_and_counts_them(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, SUMS)
    assert references_of(dataset) == ["5", "8", ""]
    assert (dataset.references, dataset.kind, len(dataset.references_digest)) == (2, "prompts", 64)
    assert [row.reference for row in dataset_rows(dataset)] == ["5", "8", None]
    page = page_of(owner_client, "detail", dataset.pk)
    assert page.count("<header>Reference answer</header>") == 2
    assert '<span class="value">2</span><span class="what">reference answers</span>' in page


def test_rows_have_the_digest_that_they_had_without_answers(team: Team, owner: User) -> None:
    """So results on a dataset that is imported again are found."""
    with_answers = imported(team, owner, SUMS)
    without = imported(team, owner, jsonl({"prompt": "What is 2 + 3?"}, {"prompt": "What is 4 + 4?"},
                                          {"prompt": "How are you?"}))
    other = imported(team, owner, SUMS.replace(b'"8"', b'"9"'))
    assert with_answers.digest == without.digest == other.digest
    assert without.references_digest == "" and with_answers.references_digest != other.references_digest


def test_the_column_is_chosen_on_the_page_of_columns(owner_client: Client, team: Team, owner: User) -> None:
    dataset = upload(team, owner, jsonl({"question": "What is 2 + 3?", "answer": "2 + 3 = 5 #### 5"}))
    address = reverse("datasets:columns", args=[dataset.pk])
    shown = page_of(owner_client, "columns", dataset.pk)
    assert "Only response: <code>answer</code>" in shown and "Reference answer: " not in shown
    choice = {"prompt": "question", "reference": "answer"}
    preview = owner_client.get(address, choice).content.decode()
    assert "Reference answer: <code>answer</code>" in preview and "Only response: " not in preview
    assert "<header>Reference answer</header>2 + 3 = 5 #### 5" in preview
    owner_client.post(address, choice)
    services.dataset_import(dataset_id=dataset.pk)
    dataset.refresh_from_db()
    assert references_of(dataset) == ["2 + 3 = 5 #### 5"] and dataset.kind == "prompts"


def test_a_recognised_column_can_be_left_out(owner_client: Client, team: Team, owner: User) -> None:
    dataset = upload(team, owner, SUMS)
    assert "Reference answer: <code>ground_truth</code>" in page_of(owner_client, "columns", dataset.pk)
    owner_client.post(reverse("datasets:columns", args=[dataset.pk]), {"prompt": "prompt", "reference": ""})
    services.dataset_import(dataset_id=dataset.pk)
    assert references_of(dataset) == ["", "", ""]


def test_an_edit_changes_it_and_the_next_version_has_it(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, SUMS)
    address = reverse("datasets:row_edit", args=[dataset.pk, 2])
    assert "Reference answer" in page_of(owner_client, "row_edit", dataset.pk, 2)
    assert "Reference answer" not in page_of(owner_client, "row_edit", dataset.pk, 3)
    owner_client.post(address, {"message_0": "What is 4 + 4?", "reference": "eight"})
    assert EditedRow.objects.get().reference == "eight"
    page = page_of(owner_client, "detail", dataset.pk)
    assert "</header>eight" in page and "</header>8" in page, "after and before the edit"
    drafts.draft_save(dataset=dataset, user=owner)
    version = Dataset.objects.latest("pk")
    services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    assert references_of(version) == ["5", "eight", ""]
    assert version.digest == dataset.digest and version.references_digest != dataset.references_digest
    differences = page_of(owner_client, "differences", version.pk)
    assert "</header>eight" in differences and "</header>8" in differences


def test_an_edit_back_to_the_old_answer_is_none(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, SUMS)
    address = reverse("datasets:row_edit", args=[dataset.pk, 2])
    owner_client.post(address, {"message_0": "What is 4 + 4?", "reference": "eight"})
    owner_client.post(address, {"message_0": "What is 4 + 4?", "reference": "8",
                                "seen": EditedRow.objects.get().state})
    assert not EditedRow.objects.exists()


def test_a_row_is_found_by_its_answer(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "Why?", "solution": "gravity"}, {"prompt": "Who?"}))
    page = owner_client.get(reverse("datasets:detail", args=[dataset.pk]), {"q": "gravity"}).content.decode()
    assert "1 row matches" in " ".join(page.split())


@pytest.mark.django_db(transaction=True)
async def test_the_download_is_read_back_to_the_same_rows(team: Team, owner: User, tmp_path: Path) -> None:
    body = jsonl({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "solution": "s"},
                 {"prompt": "Who?", "chosen": "You.", "rejected": "Me."})
    for number, content in enumerate((SUMS, body)):
        dataset = await sync_to_async(imported)(team, owner, content)
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(b"".join([part async for part in selectors.as_jsonl(dataset=dataset)]))
        assert list(read_rows(path, path.name)) == await sync_to_async(list)(dataset_rows(dataset))
        assert "reference" not in json.loads(path.read_text().splitlines()[-1])
    assert next(read_rows(path, path.name)) == Row([{"role": "user", "content": "Why?"}], "So.", "No.", reference="s")
