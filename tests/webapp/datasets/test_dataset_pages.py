"""Pages of datasets: upload, columns, progress, rows, bad rows, downloads, and who may see them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from tests.webapp.datasets.files import imported, jsonl, pairs, upload
from training.data.data_files import read_rows
from webapp.accounts.models import Team, User
from webapp.datasets import services
from webapp.datasets.models import Dataset
from webapp.runs.models import Run

PAGES = ("detail", "columns", "progress", "rejected", "rejected_csv", "download")
ACTIONS = ("restart", "rename", "delete")


@pytest.fixture(autouse=True)
def no_broker(sent: list[object]) -> None:
    """Nothing is sent."""


def address(name: str, dataset: Dataset) -> str:
    return reverse(f"datasets:{name}", args=[dataset.pk])


def send_file(client: Client, body: bytes, filename: str = "data.jsonl", **fields: str) -> Dataset:
    client.post(reverse("datasets:new"), {"file": SimpleUploadedFile(filename, body)} | fields)
    return Dataset.objects.latest("pk")


def test_an_upload_is_kept_under_a_random_name_in_the_teams_folder(owner_client: Client, team: Team) -> None:
    dataset = send_file(owner_client, pairs(2), "../../etc/pass wd.jsonl")

    path = services.source_path(dataset)
    assert path and path.read_bytes() == pairs(2)
    assert path.parent == settings.UPLOADS / str(team.pk)
    assert re.fullmatch(r"[0-9a-f]{32}\.jsonl", path.name)
    assert dataset.name == "pass wd"


@pytest.mark.parametrize(("filename", "body", "message"), [
    ("data.exe", b"MZ", "of an unknown type"),
    ("data.jsonl", b"", "empty"),
])
def test_what_is_no_data_is_refused(owner_client: Client, filename: str, body: bytes, message: str) -> None:
    answer = owner_client.post(reverse("datasets:new"), {"file": SimpleUploadedFile(filename, body)})

    assert message in answer.content.decode()
    assert not Dataset.objects.exists()


def test_a_file_over_the_limit_is_refused_with_both_sizes(owner_client: Client, settings: Settings) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1024

    answer = owner_client.post(reverse("datasets:new"), {"file": SimpleUploadedFile("a.jsonl", b"x" * 2048)})

    page = answer.content.decode().replace("\xa0", " ")
    assert "2.0 KB" in page and "1.0 KB" in page
    assert not Dataset.objects.exists()


def test_no_file_at_all_is_said(owner_client: Client) -> None:
    assert "required" in owner_client.post(reverse("datasets:new"), {"name": "x"}).content.decode()


def test_the_columns_page_names_the_format_and_shows_the_first_rows(owner_client: Client) -> None:
    dataset = send_file(owner_client, jsonl({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, "{broken"))

    page = owner_client.get(address("columns", dataset)).content.decode()

    assert "preference pairs (TRL)" in page
    assert "So." in page and "Why?" in page
    assert "Left out:</strong> invalid JSON" in page


def test_another_choice_of_columns_is_shown_at_once(owner_client: Client) -> None:
    dataset = send_file(owner_client, b"frage,antwort\nWarum?,Darum.\n", "data.csv")
    first = owner_client.get(address("columns", dataset))
    assert "None of the columns (frage, antwort) is known" in first.content.decode()

    fragment = owner_client.get(address("columns", dataset), {"prompt": "frage", "response": "antwort"},
                                headers={"HX-Request": "true"}).content.decode()

    assert "<html" not in fragment
    assert "Darum." in fragment and "disabled" not in fragment


def test_confirming_sends_the_import_with_the_columns_shown(
    owner_client: Client, sent: list[tuple[str, tuple[object, ...], str]],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    dataset = send_file(owner_client, b"frage,antwort\nWarum?,Darum.\n", "data.csv")

    with django_capture_on_commit_callbacks(execute=True):
        answer = owner_client.post(address("columns", dataset), {"prompt": "frage", "response": "antwort"})

    dataset.refresh_from_db()
    assert answer.headers["Location"] == address("detail", dataset)
    assert dataset.columns == {"prompt": "frage", "response": "antwort"}
    assert sent == [("workers.import_dataset", (dataset.pk,), "jobs")]


@pytest.mark.parametrize("fields", [{"prompt": "nonsense"}, {}])
def test_columns_that_cannot_be_are_not_imported(owner_client: Client, fields: dict[str, str]) -> None:
    dataset = send_file(owner_client, b"frage,antwort\nWarum?,Darum.\n", "data.csv")

    owner_client.post(address("columns", dataset), fields)

    dataset.refresh_from_db()
    assert dataset.status == "uploaded"


def test_a_file_that_cannot_be_read_says_so_on_the_columns_page(owner_client: Client) -> None:
    dataset = send_file(owner_client, b"no gzip", "data.jsonl.gz")

    assert "could not be read" in owner_client.get(address("columns", dataset)).content.decode()


def test_a_hub_id_is_imported_by_a_worker(
    owner_client: Client, sent: list[object], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(reverse("datasets:new"), {"hub_id": "Anthropic/hh-rlhf", "split": "test", "name": ""})

    dataset = Dataset.objects.get()
    assert (dataset.name, dataset.split, dataset.status) == ("Anthropic/hh-rlhf", "test", "importing")
    assert len(sent) == 1
    assert owner_client.get(address("columns", dataset)).status_code == 200


@pytest.mark.parametrize("hub_id", ["../data", "/etc", "var/uploads/1", ".", "a..b", "hf://datasets/a/b", "docs/"])
def test_a_path_is_refused_where_a_hub_id_is_asked_for(owner_client: Client, hub_id: str) -> None:
    page = owner_client.post(reverse("datasets:new"), {"hub_id": hub_id, "split": "train", "name": ""})

    assert "is not a hub id" in page.content.decode()
    assert not Dataset.objects.exists()


def test_progress_asks_again_until_the_import_has_ended(owner_client: Client, owner: User, team: Team) -> None:
    dataset = upload(team, owner, pairs(2))
    services.dataset_import_start(dataset=dataset, columns={})
    under_way = owner_client.get(address("progress", dataset))
    assert "every 1s" in under_way.content.decode() and "HX-Refresh" not in under_way.headers

    services.dataset_import(dataset_id=dataset.pk)

    assert owner_client.get(address("progress", dataset)).headers["HX-Refresh"] == "true"


def test_rows_show_both_replies_side_by_side_page_by_page(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, pairs(30))

    first = owner_client.get(address("detail", dataset)).content.decode()
    second = owner_client.get(address("detail", dataset), {"page": "2"}).content.decode()

    assert "It is 3." in first and "It is 29." not in first
    assert "It is 29." in second and "26 to 30 of 30" in second
    assert "Chosen</header>It is 29." in second


@pytest.mark.parametrize("page", ["0", "-1", "x", "999999999999999999999999"])
def test_a_page_that_does_not_exist_breaks_nothing(owner_client: Client, owner: User, team: Team, page: str) -> None:
    dataset = imported(team, owner, pairs(1))

    assert owner_client.get(address("detail", dataset), {"page": page}).status_code == 200


def test_what_a_row_says_is_shown_as_text(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "<script>alert(1)</script>"}))

    assert "<script>alert" not in owner_client.get(address("detail", dataset)).content.decode()


def test_pages_take_as_many_queries_for_many_rows_and_datasets(owner_client: Client, owner: User, team: Team) -> None:
    small = imported(team, owner, jsonl({"prompt": "Why?"}, "{"))
    large = imported(team, owner, jsonl(*[{"prompt": "Why?"}] * 60, *["{"] * 60))
    counts = {}
    for dataset in (small, large):
        for name in ("detail", "rejected"):
            with CaptureQueriesContext(connection) as queries:
                owner_client.get(address(name, dataset))
            counts[name, dataset.pk] = len(queries)
    assert counts["detail", small.pk] == counts["detail", large.pk]
    assert counts["rejected", small.pk] == counts["rejected", large.pk]
    with CaptureQueriesContext(connection) as few:
        owner_client.get(reverse("datasets:list"))
    for _ in range(5):
        imported(team, owner, pairs(1))
    with CaptureQueriesContext(connection) as many:
        owner_client.get(reverse("datasets:list"))
    assert len(few) == len(many)


def test_bad_rows_can_be_taken_away_as_csv(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "Why?"}, {"prompt": ""}))

    answer = owner_client.get(address("rejected_csv", dataset))

    assert answer.content.decode().splitlines() == ["row,reason", "2,the prompt is empty"]
    assert "the prompt is empty" in owner_client.get(address("rejected", dataset)).content.decode()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [
    pairs(3), jsonl({"prompt": "Why?"}, {"prompt": "How?"}), jsonl({"prompt": "Why?", "response": "Só."})])
async def test_the_download_is_read_back_as_the_same_rows(
    owner_client: Client, owner: User, team: Team, tmp_path: Path, body: bytes,
) -> None:
    from asgiref.sync import sync_to_async

    dataset = await sync_to_async(imported)(team, owner, body)
    client = AsyncClient()
    await sync_to_async(client.force_login)(owner, "django.contrib.auth.backends.ModelBackend")

    answer = await client.get(address("download", dataset))

    path = tmp_path / "download.jsonl"
    path.write_bytes(b"".join([part async for part in answer]))
    (tmp_path / "upload.jsonl").write_bytes(body)
    assert list(read_rows(path, path.name)) == list(read_rows(tmp_path / "upload.jsonl", "upload.jsonl"))
    assert f'filename="{dataset.pk}-data.jsonl"' in answer.headers["Content-Disposition"]
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["prompt"][0]["role"] == "user"


def test_a_dataset_is_renamed(owner_client: Client, owner: User, team: Team) -> None:
    dataset = upload(team, owner, pairs(1))
    owner_client.post(address("rename", dataset), {"name": "better"})
    owner_client.post(address("rename", dataset), {"name": "x" * 201})

    dataset.refresh_from_db()
    assert dataset.name == "better"


def test_deleting_takes_rows_and_file_along(
    owner_client: Client, owner: User, team: Team,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    dataset = imported(team, owner, jsonl({"prompt": "Why?"}, "{"))
    path = services.source_path(dataset)

    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(address("delete", dataset))

    assert path and not path.exists()
    assert not Dataset.objects.exists()


def test_a_dataset_that_runs_came_from_stays(owner_client: Client, owner: User, team: Team) -> None:
    dataset = imported(team, owner, pairs(2))
    Run.objects.create(team=team, name="first try", recipe={}, dataset=dataset)

    page = owner_client.post(address("delete", dataset), follow=True).content.decode()

    assert "runs use it (first try)" in page
    assert dataset.rows.count() == 2


@pytest.mark.parametrize("name", PAGES)
def test_a_stranger_sees_no_page(stranger_client: Client, owner: User, team: Team, name: str) -> None:
    assert stranger_client.get(address(name, imported(team, owner, pairs(1)))).status_code == 404


@pytest.mark.parametrize("name", (*ACTIONS, "columns"))
def test_a_stranger_changes_nothing(stranger_client: Client, owner: User, team: Team, name: str) -> None:
    dataset = imported(team, owner, pairs(1))

    assert stranger_client.post(address(name, dataset), {"name": "mine"}).status_code == 404
    assert Dataset.objects.get().name == "data"


@pytest.mark.parametrize("name", ACTIONS)
def test_looking_changes_nothing(owner_client: Client, owner: User, team: Team, name: str) -> None:
    assert owner_client.get(address(name, upload(team, owner, pairs(1)))).status_code == 405


def test_the_list_shows_the_teams_data_only(
    owner_client: Client, owner: User, team: Team, other_team: Team, stranger: User,
) -> None:
    upload(team, owner, pairs(1), name="ours")
    upload(other_team, stranger, pairs(1), name="theirs")

    page = owner_client.get(reverse("datasets:list")).content.decode()

    assert "ours" in page and "theirs" not in page


def test_an_empty_list_says_how_to_begin(owner_client: Client) -> None:
    assert "No datasets yet" in owner_client.get(reverse("datasets:list")).content.decode()
