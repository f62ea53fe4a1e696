"""The form of a row's texts: the checks of the import, with the field, the value and the way out; nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl
from webapp.accounts.models import Team, User
from webapp.datasets.models import Dataset, Draft, EditedRow

PAIR = {"message_0": "Why?", "chosen": "So.", "rejected": "No."}


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, jsonl(
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Two\r\nlines?"}],
         "chosen": "One\r\ntwo.", "rejected": "None."}))


def edit(client: Client, dataset: Dataset, number: int, **fields: str) -> Any:
    return client.post(reverse("datasets:row_edit", args=[dataset.pk, number]), fields, follow=True)


def form_of(client: Client, dataset: Dataset, number: int) -> str:
    return client.get(reverse("datasets:row_edit", args=[dataset.pk, number])).content.decode()


def test_the_form_has_a_field_for_each_text_that_the_row_has(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    prompts = imported(team, owner, jsonl({"prompt": "Why?"}))
    dialogues = imported(team, owner, jsonl({"prompt": "Why?", "response": "So."}))

    assert "Message 1 (system)" in form_of(owner_client, dataset, 2) and "Rejected" in form_of(owner_client, dataset, 2)
    assert "Prompt" in form_of(owner_client, prompts, 1) and "esponse" not in form_of(owner_client, prompts, 1)
    assert "Response" in form_of(owner_client, dialogues, 1) and "Rejected" not in form_of(owner_client, dialogues, 1)


def test_new_texts_are_stored_as_the_import_would(owner_client: Client, dataset: Dataset) -> None:
    edit(owner_client, dataset, 1, message_0="  Why\r\nnot? ", chosen='[{"role": "user"}]', rejected="No.")

    edited = EditedRow.objects.get()
    assert edited.prompt == [{"role": "user", "content": "Why\nnot?"}]
    assert edited.chosen == '[{"role": "user"}]', "what looks like JSON is a text"
    assert "not?" in edited.words.split()


@pytest.mark.parametrize(("wrong", "message"), [
    ({"message_0": ""}, "“Prompt” is empty. Give it a text, or exclude the row."),
    ({"chosen": " \n"}, "“Chosen response” holds only spaces. Give it a text, or exclude the row."),
    ({"rejected": "So. "}, "The rejected response “So.” is the same as the chosen response. Change one of them"),
    ({"chosen": "x" * 200_001}, "more than 200,000 characters together"),
])
def test_what_the_import_would_refuse_is_refused(
        owner_client: Client, dataset: Dataset, wrong: dict[str, str], message: str) -> None:
    page = edit(owner_client, dataset, 1, **PAIR | wrong).content.decode()

    assert message in page and not EditedRow.objects.exists()


def test_texts_that_were_not_touched_stay_to_the_letter(owner_client: Client, dataset: Dataset) -> None:
    """A browser sends every line ending as CR LF."""
    edit(owner_client, dataset, 2, message_0="Be kind.", message_1="Two\r\nlines?", chosen="One\r\ntwo.",
         rejected="No.")

    edited = EditedRow.objects.get()
    assert (edited.prompt[1]["content"], edited.chosen, edited.rejected) == ("Two\r\nlines?", "One\r\ntwo.", "No.")


def test_the_texts_of_the_dataset_are_no_edit(owner_client: Client, dataset: Dataset) -> None:
    edit(owner_client, dataset, 1, **PAIR)
    assert not Draft.objects.exists()

    edit(owner_client, dataset, 1, **PAIR | {"chosen": "Thus."})
    edit(owner_client, dataset, 1, **PAIR, seen=EditedRow.objects.get().state)
    assert not EditedRow.objects.exists()

    edit(owner_client, dataset, 1, **PAIR | {"chosen": "Thus."})
    edit(owner_client, dataset, 1, undo="1")
    assert not Draft.objects.exists()


def test_what_a_teammate_wrote_meanwhile_is_shown_before_it_is_replaced(
        owner_client: Client, teammate_client: Client, dataset: Dataset) -> None:
    edit(teammate_client, dataset, 1, **PAIR | {"chosen": "Because."})

    page = edit(owner_client, dataset, 1, **PAIR | {"chosen": "Thus."}).content.decode()

    edited = EditedRow.objects.get()
    assert edited.chosen == "Because." and "teammate edited this row after you had opened it." in page
    assert "Because." in page and "Thus." in page and f'value="{edited.state}"' in page

    edit(owner_client, dataset, 1, **PAIR | {"chosen": "Thus."}, seen=edited.state)
    assert EditedRow.objects.get().chosen == "Thus."


def test_a_row_too_long_for_a_form_says_what_to_do(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "x" * 200_001}))

    page = owner_client.get(reverse("datasets:row_edit", args=[dataset.pk, 1]), follow=True).content.decode()

    assert "too many for a form. Exclude it, or change it in the JSONL download" in page
