"""Pairs of which nobody chose a response are imported, shown, edited, downloaded and run, and no choice is made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, upload
from training import config
from training.errors import BadData
from training.run.artifacts import read_jsonl
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, DatasetText, EditedRow
from webapp.datasets.selectors import as_jsonl
from webapp.labels.models import Pair
from webapp.labels.pairs_from_rows import pairs_from_rows
from webapp.runs.stage_inputs import data_files, file_digests


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


OPEN = [{"prompt": f"Who built mill {n}?", "response_a": f"Odo built {n}.", "response_b": "The wind."}
        for n in range(10)]


def test_they_are_previewed_in_words_and_imported_without_a_mapping(
    owner_client: Client, team: Team, owner: User,
) -> None:
    dataset = upload(team, owner, jsonl(*OPEN))
    page = owner_client.get(reverse("datasets:columns", args=[dataset.pk])).content.decode()
    assert "Read as pairs of responses, and nobody chose." in page
    assert "<header>Response A</header>Odo built 0." in page and "<header>Chosen</header>" not in page

    ready = imported(team, owner, jsonl(*OPEN))
    assert (ready.kind, ready.rows_good, ready.rows_bad) == (Dataset.Kind.UNDECIDED, 10, 0)
    page = owner_client.get(reverse("datasets:detail", args=[ready.pk])).content.decode()
    assert "pairs without a choice" in page and "<header>Response B</header>The wind." in page
    assert "<header>Chosen</header>" not in page


async def _lines(dataset: Dataset) -> list[bytes]:
    return [part async for part in as_jsonl(dataset=dataset)]


def test_the_download_is_read_back_to_the_same_rows(team: Team, owner: User) -> None:
    mixed = [*OPEN, {"prompt": "Why?", "chosen": "So.", "rejected": "No."}]
    dataset = imported(team, owner, jsonl(*mixed))
    assert dataset.kind == Dataset.Kind.PAIRS
    body = b"".join(async_to_sync(_lines)(dataset))
    assert json.loads(body.splitlines()[0])["response_a"] == "Odo built 0."
    assert imported(team, owner, body).digest == dataset.digest


def test_a_run_labels_them_and_nobody_is_said_to_have_chosen(team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl(*OPEN))
    recipe = config.check_recipe({"principles": [{"name": "toxicity"}, {"name": "factuality"}],
                                  "data": {"source": dataset.name}, "sample": {"pairs": "dataset"},
                                  "judge": {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}})
    files = data_files(team=team, recipe=recipe, dataset=dataset, digests=file_digests(recipe, dataset))
    pairs = list(read_jsonl(files["pairs"]))
    assert len(pairs) == 8 and all(pair["human"] is None for pair in pairs) and "dialogues" not in files

    pairs_from_rows(team=team, dataset=dataset, most=5)
    assert Pair.objects.exists() and not Pair.objects.exclude(human=None).exists()

    with pytest.raises(BadData, match="no responses to fine-tune on"):
        file_digests(recipe.model_copy(update={"sft": recipe.sft.model_copy(update={"enabled": True})}), dataset)
    with pytest.raises(BadData, match="nobody chose between the responses"):
        file_digests(recipe.model_copy(update={"weights": config.Weights(mode="fitted")}), dataset)


def test_a_row_is_edited_as_responses_a_and_b(owner_client: Client, team: Team, owner: User) -> None:
    dataset = imported(team, owner, jsonl(*OPEN))
    address = reverse("datasets:row_edit", args=[dataset.pk, 3])
    page = owner_client.get(address).content.decode()
    assert "Response A" in page and "Chosen response" not in page
    owner_client.post(address, {"message_0": "Who?", "response_a": "Odo.", "response_b": "Me.", "seen": ""})
    edited = EditedRow.objects.get()
    assert (edited.chosen, edited.rejected) == ("Odo.", "Me.")


def test_ratings_and_ties_give_both_kinds_of_rows(team: Team, owner: User) -> None:
    rated = [{"prompt": f"p{n // 2}", "response": f"r{n}", "helpfulness": n if n < 6 else 4, "correctness": 1,
              "coherence": 1, "complexity": 1, "verbosity": 1} for n in range(10)]
    dataset = imported(team, owner, jsonl(*rated, {**rated[0], "prompt": "alone"}))
    texts = DatasetText.objects.filter(row__dataset=dataset).order_by("row__number")
    assert list(texts.values_list("chosen", "rejected", "undecided")) == [
        ("r1", "r0", False), ("r3", "r2", False), ("r5", "r4", False), ("r6", "r7", True), ("r8", "r9", True)]
    bad = dataset.rejected_rows.get()
    assert (bad.number, dataset.kind) == (11, Dataset.Kind.PAIRS) and "two responses" in bad.reason


def test_a_dataset_of_the_field_is_named_on_its_preview(owner_client: Client, team: Team, owner: User) -> None:
    rows = [{"history": f"Post {n}", "human_ref_A": "Yes.", "human_ref_B": "No.", "labels": n % 2, "score_ratio": 2.0}
            for n in range(10)]
    dataset = upload(team, owner, jsonl(*rows))
    address = reverse("datasets:columns", args=[dataset.pk])
    page = owner_client.get(address).content.decode()
    assert "Read as posts with two comments, one voted higher (SHP)." in page
    assert "<code>human_ref_A</code>" in page and "<dt>Not used</dt><dd><code>score_ratio</code></dd>" in page
    owner_client.post(address, dict.fromkeys(("prompt", "chosen", "rejected", "system", "input", "history"), ""))
    dataset.refresh_from_db()
    assert dataset.status == Dataset.Status.IMPORTING and not any(dataset.columns.values())
    assert Path(dataset.filename).suffix == ".jsonl"
