"""Checked runs are archived, starred and tagged together, with a count, and the last action can be undone."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, RunTag


@pytest.fixture
def runs(team: Team, owner: User) -> list[Run]:
    """Three that are over, the third of them starred, and one that is under way."""
    made = [make_run(team, owner, name=f"run {number}", status="succeeded")[0] for number in range(3)]
    Run.objects.filter(pk=made[2].pk).update(starred=True)
    return [*made, make_run(team, owner, name="under way")[0]]


def act(client: Client, action: str, runs: list[Run], **more: str) -> str:
    return client.post("/runs/many/", {"action": action, "run": [run.pk for run in runs], **more},
                       follow=True).content.decode()


def undo(client: Client) -> str:
    return client.post("/runs/many/undo/", follow=True).content.decode()


def test_runs_are_archived_with_a_count_and_put_back(owner_client: Client, runs: list[Run]) -> None:
    page = act(owner_client, "archive", runs)
    assert "3 runs are in the archive. 1 under way stays in the list." in page and ">Undo</button>" in page
    assert list(Run.objects.filter(archived=True).order_by("pk")) == runs[:3]
    assert ">Undo</button>" not in owner_client.get("/runs/").content.decode()
    assert "Undone: 3 runs are back in the list." in undo(owner_client)
    assert not Run.objects.filter(archived=True).exists()
    assert "nothing to undo" in undo(owner_client)


def test_undo_touches_only_what_was_changed(owner_client: Client, runs: list[Run]) -> None:
    assert "2 runs are starred." in act(owner_client, "star", runs[:3])
    undo(owner_client)
    assert list(Run.objects.filter(starred=True)) == [runs[2]]


def test_runs_are_tagged_and_untagged(owner_client: Client, runs: list[Run]) -> None:
    RunTag.objects.create(run=runs[0], name="paper")
    assert "1 run is tagged “paper”." in act(owner_client, "tag", runs[:2], tag=" Paper ")
    undo(owner_client)
    assert [tag.run for tag in RunTag.objects.all()] == [runs[0]]
    assert "1 run is without the tag “paper”." in act(owner_client, "untag", runs, tag="paper")
    assert not RunTag.objects.exists()


def test_a_full_run_takes_no_further_tag(owner_client: Client, runs: list[Run]) -> None:
    RunTag.objects.bulk_create([RunTag(run=runs[0], name=f"tag {number}") for number in range(20)])
    assert "1 run is tagged “new”. 1 had 20 tags already." in act(owner_client, "tag", runs[:2], tag="new")


@pytest.mark.parametrize(("data", "says"), [
    ({"action": "archive"}, "These are 0 runs."), ({"action": "explode", "run": "1"}, "There is no action"),
    ({"action": "tag", "run": "1", "tag": " "}, "The tag has 0 characters"),
    ({"action": "star", "run": "x"}, "These are 0 runs."), ({"action": "star", "run": "999999"}, "Nothing changed"),
])
def test_what_cannot_be_done_is_said(owner_client: Client, team: Team, data: dict[str, str], says: str) -> None:
    assert says in owner_client.post("/runs/many/", data, follow=True).content.decode()


def test_checked_runs_are_compared_at_an_address(owner_client: Client, runs: list[Run]) -> None:
    answer = owner_client.post("/runs/many/", {"action": "compare", "run": [runs[1].pk, runs[0].pk]})
    assert answer.headers["Location"] == f"/runs/compare/?run={runs[1].pk}&run={runs[0].pk}"
    assert "This address names no run" in owner_client.post("/runs/many/", follow=True).content.decode()


def test_one_comes_back_to_the_list_as_it_was_and_nowhere_else(owner_client: Client, runs: list[Run]) -> None:
    for back, location in (("/runs/?q=run", "/runs/?q=run"), ("//elsewhere.example/", "/runs/"), ("/team/", "/runs/")):
        answer = owner_client.post("/runs/many/", {"action": "star", "run": runs[0].pk, "back": back})
        assert answer.headers["Location"] == location


def test_another_teams_runs_stay_as_they_are(stranger_client: Client, runs: list[Run], other_team: Team) -> None:
    for action in ("archive", "star", "tag"):
        act(stranger_client, action, runs, tag="mine")
    assert not Run.objects.filter(archived=True).exists() and not RunTag.objects.exists()
    assert list(Run.objects.filter(starred=True)) == [runs[2]]
