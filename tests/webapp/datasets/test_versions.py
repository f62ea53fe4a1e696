"""A draft is saved as a new version: another dataset, made by a worker, whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from tests.webapp.datasets.files import imported, jsonl, pairs
from webapp.accounts.models import Team, User
from webapp.datasets import drafts, importing, services, versions
from webapp.datasets.models import Dataset, DatasetText, Draft, ExcludedRow
from webapp.runs.models import Run


@pytest.fixture(autouse=True)
def sent_tasks(sent: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Tests make the versions themselves."""
    return sent


@pytest.fixture
def dataset(team: Team, owner: User) -> Dataset:
    return imported(team, owner, pairs(5))


def edit(client: Client, dataset: Dataset, number: int) -> None:
    client.post(reverse("datasets:row_edit", args=[dataset.pk, number]),
                {"message_0": "Who?", "chosen": "You.", "rejected": "Me."})


def save(client: Client, dataset: Dataset) -> Any:
    return client.post(reverse("datasets:draft_save", args=[dataset.pk]), follow=True)


def saved(client: Client, dataset: Dataset, user: User, *numbers: int) -> Dataset:
    """The version without these rows, made."""
    drafts.rows_exclude(dataset=dataset, user=user, rows=dataset.rows.filter(number__in=numbers))
    save(client, dataset)
    version = Dataset.objects.latest("pk")
    services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    return version


def page_of(client: Client, dataset: Dataset) -> str:
    return client.get(reverse("datasets:detail", args=[dataset.pk])).content.decode()


def test_a_version_has_the_rows_that_are_left_in_their_order_with_their_numbers(
        owner_client: Client, owner: User, dataset: Dataset) -> None:
    edit(owner_client, dataset, 4)
    version = saved(owner_client, dataset, owner, 2)

    assert (version.status, version.name, version.version, version.made_from) == ("ready", "data", 2, dataset)
    assert (version.rows_good, version.rows_excluded, version.rows_edited, version.created_by) == (4, 1, 1, owner)
    rows = DatasetText.objects.filter(row__dataset=version).order_by("row__number")
    assert list(rows.values_list("row__number", "chosen")) == [
        (1, "It is 0."), (3, "It is 2."), (4, "You."), (5, "It is 4.")]
    assert dataset.rows.count() == 5


def test_the_same_rows_have_the_same_digest_however_they_came(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    edit(owner_client, dataset, 3)
    version = saved(owner_client, dataset, owner, 1)

    same = imported(team, owner, jsonl(
        {"prompt": "What is 1?", "chosen": "It is 1.", "rejected": "No idea."},
        {"prompt": "Who?", "chosen": "You.", "rejected": "Me."},
        *({"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No idea."} for n in (3, 4))))

    assert version.digest == same.digest != dataset.digest


def test_the_kind_is_that_of_the_rows_that_are_left(owner_client: Client, owner: User, team: Team) -> None:
    mixed = imported(team, owner, jsonl({"prompt": [{"role": "user", "content": "Why?"}]}, {"prompt": [
        {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}))

    assert (mixed.kind, saved(owner_client, mixed, owner, 2).kind) == ("dialogues", "prompts")


def test_pages_say_what_differs_and_lead_from_one_version_to_the_others(
        owner_client: Client, owner: User, dataset: Dataset) -> None:
    second = saved(owner_client, dataset, owner, 1)
    third = saved(owner_client, second, owner, 2)
    other = saved(owner_client, dataset, owner, 3)  # from version 1 again

    assert (third.version, third.made_from, other.version, other.made_from) == (3, second, 4, dataset)
    for version in (dataset, second, third, other):
        page = page_of(owner_client, version)
        links = [f'href="/datasets/{each.pk}/">Version {each.version}</a>' in page
                 for each in (dataset, second, third, other)]
        assert links == [each != version for each in (dataset, second, third, other)]
    for page in (owner_client.get(reverse("datasets:list")).content.decode(), page_of(owner_client, third)):
        assert f'1 row excluded from <a href="/datasets/{second.pk}/">version 2</a>' in page


def test_nothing_to_save_and_nothing_left_are_said(owner_client: Client, owner: User, dataset: Dataset) -> None:
    assert "Change a row first." in save(owner_client, dataset).content.decode()

    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=range(1, 6)))
    assert "All 5 rows are excluded. Put at least one back" in save(owner_client, dataset).content.decode()
    assert Dataset.objects.count() == 1


def test_saving_twice_makes_one_version(
        owner_client: Client, owner: User, dataset: Dataset, sent_tasks: list[Any],
        django_capture_on_commit_callbacks: Any) -> None:
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[1]))
    with django_capture_on_commit_callbacks(execute=True):
        save(owner_client, dataset)
        save(owner_client, dataset)

    version = Dataset.objects.get(version=2)
    assert sent_tasks == [("workers.import_dataset", (version.pk,), "jobs")]
    assert "Making version 2." in page_of(owner_client, version)


def test_what_is_changed_after_saving_is_the_next_draft(owner_client: Client, owner: User, dataset: Dataset) -> None:
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[1]))
    save(owner_client, dataset)
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[2]))
    version = Dataset.objects.get(version=2)
    services.dataset_import(dataset_id=version.pk)

    assert list(version.rows.values_list("number", flat=True)) == [2, 3, 4, 5]
    assert Draft.objects.filter(base=dataset, saved_as=None).count() == 1


@pytest.mark.parametrize("stop", [OperationalError("the server went away"), KeyboardInterrupt()])
def test_a_worker_that_stops_half_way_is_followed_by_another(
        owner_client: Client, owner: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch,
        stop: BaseException) -> None:
    whole = saved(owner_client, dataset, owner, 1)
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[1]))
    save(owner_client, dataset)
    version = Dataset.objects.latest("pk")
    monkeypatch.setattr(importing, "BATCH", 1)
    with monkeypatch.context() as patch:
        def two_rows(*given: Any) -> Any:
            rows = versions.version_rows(*given)
            yield next(rows)
            yield next(rows)
            raise stop
        patch.setattr(importing, "version_rows", two_rows)
        with pytest.raises(type(stop)):
            services.dataset_import(dataset_id=version.pk)
    version.refresh_from_db()
    assert (version.status, version.rows_good) == ("importing", 2)

    services.dataset_import(dataset_id=version.pk)

    version.refresh_from_db()
    assert (version.status, version.rows_good, version.digest) == ("ready", 4, whole.digest)


def test_a_parent_is_deleted_and_its_version_stays(owner_client: Client, owner: User, dataset: Dataset) -> None:
    version = saved(owner_client, dataset, owner, 1)
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[3]))

    owner_client.post(reverse("datasets:delete", args=[dataset.pk]))

    version.refresh_from_db()
    assert version.made_from is None and version.rows.count() == 4 and not ExcludedRow.objects.exists()
    assert "1 row excluded from version 1, which was deleted" in page_of(owner_client, version)
    assert saved(owner_client, version, owner, 2).version == 3


def test_a_parent_stays_while_a_version_is_made_or_runs_use_it(
        owner_client: Client, owner: User, team: Team, dataset: Dataset) -> None:
    drafts.rows_exclude(dataset=dataset, user=owner, rows=dataset.rows.filter(number__in=[1]))
    save(owner_client, dataset)
    delete = reverse("datasets:delete", args=[dataset.pk])

    page = owner_client.post(delete, follow=True).content.decode()
    assert "version 2 is being made from its rows. Wait until it is ready." in page

    services.dataset_import(dataset_id=Dataset.objects.get(version=2).pk)
    Run.objects.create(team=team, name="first try", recipe={}, dataset=dataset)
    assert "runs use it (first try)" in owner_client.post(delete, follow=True).content.decode()


def test_a_version_is_deleted_with_its_changes(owner_client: Client, owner: User, dataset: Dataset) -> None:
    version = saved(owner_client, dataset, owner, 1)

    owner_client.post(reverse("datasets:delete", args=[version.pk]))

    assert Dataset.objects.get() == dataset and not Draft.objects.exists()
    assert "Versions" not in page_of(owner_client, dataset)


def test_the_run_form_offers_the_newest_version_first(owner_client: Client, owner: User, dataset: Dataset) -> None:
    saved(owner_client, dataset, owner, 1)

    page = owner_client.get(reverse("runs:new")).content.decode()

    assert page.index("data, version 2 (4 preference pairs)") < page.index("data (5 preference pairs)")


def test_the_palette_tells_versions_apart(owner_client: Client, owner: User, dataset: Dataset) -> None:
    saved(owner_client, dataset, owner, 1)

    found = owner_client.get(reverse("search"), {"q": "data"}).content.decode()

    assert '"data, version 2"' in found and '"data"' in found


def test_a_version_has_no_columns_to_choose(owner_client: Client, owner: User, dataset: Dataset) -> None:
    version = saved(owner_client, dataset, owner, 1)
    Dataset.objects.filter(pk=version.pk).update(status="failed", error="It stopped.")

    assert owner_client.get(reverse("datasets:columns", args=[version.pk])).status_code == 302
    page = page_of(owner_client, version)
    assert "This version could not be made." in page and "Choose the columns" not in page
