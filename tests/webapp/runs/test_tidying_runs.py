"""Runs are renamed, noted, tagged, archived and deleted; what goes with one is what no other run stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.webapp.runs.seeds import add_points, make_run
from training.errors import BadSettings
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair
from webapp.principles.models import PrincipleVersion
from webapp.runs.models import MetricChunk, Run, RunTag, Stage
from webapp.runs.tidying import footprint, run_delete, run_describe

pytestmark = pytest.mark.django_db


def finished(team: Team, owner: User, name: str, share: dict[str, Stage] | None = None) -> tuple[Run, dict[str, Stage]]:
    """A run that is done, with 100 bytes in each folder of its own stages."""
    run, stages = make_run(team, owner, name=name, until="", status=Run.Status.SUCCEEDED, share=share)
    for stage in stages.values():
        if not (stage.folder / "result.bin").exists():
            stage.folder.mkdir(parents=True, exist_ok=True)
            (stage.folder / "result.bin").write_bytes(b"x" * 100)
    return run, stages


def describe(client: Client, run: Run, **fields: str) -> str:
    data = {"name": run.name, "note": "", "tags": ""} | fields
    return client.post(f"/runs/{run.pk}/describe/", data, follow=True).content.decode()


def test_name_note_and_tags_are_shown_and_found(team: Team, owner: User, owner_client: Client) -> None:
    run, _ = finished(team, owner, "Demo world")
    finished(team, owner, "Another")
    page = describe(owner_client, run, name="The good one", note="KL too low\nbefore", tags="Paper, baseline ,paper,")
    assert "The good one" in page and "KL too low<br>before" in page
    assert list(run.tags.values_list("name", flat=True)) == ["baseline", "paper"]
    for words in ("good", "kl TOO", "PAPER", "base"):
        listed = owner_client.get("/runs/", {"q": words}).content.decode()
        assert "The good one" in listed and "Another" not in listed, words
    assert listed.count(f'id="run-{run.pk}"') == 1, "two tags that match make no second row"
    describe(owner_client, run, name="The good one", tags="paper")
    assert list(run.tags.values_list("name", flat=True)) == ["paper"]


@pytest.mark.parametrize(("fields", "message"), [
    ({"name": "  "}, "The name has 0 characters"), ({"name": "x" * 201}, "The name has 201 characters"),
    ({"note": "x" * 2001}, "The note has 2,001 characters"), ({"tags": "x" * 41}, "the longest of 41"),
    ({"tags": ",".join(map(str, range(21)))}, "These are 21 tags")])
def test_what_is_too_long_is_refused_and_nothing_changes(
        fields: dict[str, str], message: str, team: Team, owner: User, owner_client: Client) -> None:
    run, _ = finished(team, owner, "Demo world")
    assert message in describe(owner_client, run, **fields)
    run.refresh_from_db()
    assert (run.name, run.note, RunTag.objects.count()) == ("Demo world", "", 0)


def test_an_archived_run_is_kept_and_not_listed(team: Team, owner: User, owner_client: Client) -> None:
    run, _ = finished(team, owner, "An old one")
    owner_client.post(f"/runs/{run.pk}/archive/", {"archived": "1"})
    assert "An old one" not in owner_client.get("/runs/").content.decode()
    assert "An old one" in owner_client.get("/runs/?status=archived").content.decode()
    assert "archived" in owner_client.get(f"/runs/{run.pk}/").content.decode()
    owner_client.post(f"/runs/{run.pk}/archive/", {"archived": "0"})
    assert "An old one" in owner_client.get("/runs/").content.decode()


def test_a_run_under_way_is_neither_archived_nor_deleted(team: Team, owner: User, owner_client: Client) -> None:
    run, _ = make_run(team, owner)
    page = owner_client.post(f"/runs/{run.pk}/archive/", {"archived": "1"}, follow=True).content.decode()
    assert "The run is under way." in page
    page = owner_client.post(f"/runs/{run.pk}/delete/", {"confirmed": "1"}, follow=True).content.decode()
    assert "Cancel it" in page and Run.objects.filter(pk=run.pk, archived=False).exists()


@pytest.mark.django_db(transaction=True)
def test_deleting_frees_what_no_other_run_stands_on_and_nothing_else(
        team: Team, owner: User, owner_client: Client) -> None:
    first, stages = finished(team, owner, "First")
    shared = {name: stage for name, stage in stages.items() if stage.kind in ("sample", "label")}
    second, own = finished(team, owner, "Second", share=shared)
    add_points(own["ppo"], "reward/total", [1, 2], [0.1, 0.2])
    add_points(stages["ppo"], "reward/total", [1, 2], [0.1, 0.2])
    pair = Pair.objects.create(team=team, digest="a" * 32, excerpt="Where?")
    Label.objects.create(team=team, pair=pair, judge="rule", prompt_version="1", probability=0.7,
                         principle_version=PrincipleVersion.objects.filter(principle__team=team).first())
    taken = footprint(second)
    assert (taken.own, taken.shared) == (100 * (len(own) - len(shared)), 100 * len(shared))
    question = owner_client.post(f"/runs/{second.pk}/delete/").content.decode()
    assert "Delete “Second”" in question and f"{len(shared)} stages stay, because other runs use them." in question
    assert Run.objects.filter(pk=second.pk).exists(), "it asks first"

    page = owner_client.post(f"/runs/{second.pk}/delete/", {"confirmed": "1"}, follow=True).content.decode()
    assert "are free again" in page
    assert list(Run.objects.values_list("name", flat=True)) == ["First"]
    gone = [stage for name, stage in own.items() if name not in shared]
    assert not any(stage.folder.exists() for stage in gone)
    assert not Stage.objects.filter(pk__in=[stage.pk for stage in gone]).exists()
    assert all((stage.folder / "result.bin").is_file() for stage in stages.values())
    assert MetricChunk.objects.count() == 1 and Label.objects.count() == 1
    assert owner_client.get(f"/runs/{first.pk}/").status_code == 200
    assert footprint(first).shared == 0, "what was shared is the first run's own now"


@pytest.mark.django_db(transaction=True)
def test_data_files_go_with_the_last_run_that_reads_them(team: Team, owner: User, artifacts: Path) -> None:
    from training.run.artifacts import digest_of

    runs = [finished(team, owner, name)[0] for name in ("one", "two")]
    Run.objects.update(file_digests={"prompts": "p"})
    data = artifacts / str(team.pk) / "data" / digest_of({"prompts": "p"})[:32]
    data.mkdir(parents=True)
    run_delete(run=runs[0])
    assert data.is_dir()
    run_delete(run=runs[1])
    assert not data.exists()


def test_a_stage_that_is_still_stopping_keeps_its_run(team: Team, owner: User) -> None:
    run, stages = finished(team, owner, "Stopping")
    Stage.objects.filter(pk=stages["ppo"].pk).update(status=Stage.Status.RUNNING)
    with pytest.raises(BadSettings, match="still stopping"):
        run_delete(run=run)
    assert (stages["ppo"].folder / "result.bin").is_file()


def test_a_name_changes_nothing_that_was_computed(team: Team, owner: User) -> None:
    run, _ = finished(team, owner, "Demo world")
    recipe = run.recipe
    run_describe(run=run, name="New", note="", tags=[])
    run.refresh_from_db()
    assert run.name == "New" and run.recipe == recipe


def test_sizes_are_on_a_page_of_few_queries(
        team: Team, owner: User, owner_client: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(6):
        finished(team, owner, f"Run number {number}")
    with django_assert_max_num_queries(9):
        page = owner_client.get("/runs/storage/").content.decode()
    assert page.count("Run number") == 12 and "bytes" in page.replace("\u00a0", " ")


@pytest.mark.parametrize("verb", ["describe", "archive", "delete"])
def test_a_strangers_hand_changes_nothing(verb: str, team: Team, owner: User, stranger_client: Client) -> None:
    run, _ = finished(team, owner, "Mine")
    answer = stranger_client.post(f"/runs/{run.pk}/{verb}/", {"name": "Yours", "archived": "1", "confirmed": "1"})
    assert answer.status_code == 404
    assert Run.objects.filter(pk=run.pk, name="Mine", archived=False).exists()
