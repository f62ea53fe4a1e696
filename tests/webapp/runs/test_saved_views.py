"""A view of the table of runs is kept under a name for the whole team, and for nobody else."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.runs.models import SavedView

QUERY = "?q=kl.target>2&columns=win,kl/mean&sort=-win&page=3"


@pytest.fixture(autouse=True)
def run(team: Team, owner: User) -> None:
    make_run(team, owner)


def save(client: Client, name: str = "Good ones", query: str = QUERY) -> str:
    return client.post("/runs/views/save/", {"name": name, "query": query}, follow=True).content.decode()


def test_a_view_is_saved_without_its_page_and_is_a_link_for_the_team(
    owner_client: Client, teammate_client: Client, team: Team,
) -> None:
    assert "The view “Good ones” is saved" in save(owner_client)
    view = SavedView.objects.of(team).get()
    assert view.query == "?q=kl.target%3E2&columns=win,kl/mean&sort=-win"
    page = teammate_client.get("/runs/").content.decode()
    assert f'<a href="/runs/{view.query.replace("&", "&amp;")}">Good ones</a>' in page
    there = teammate_client.get(f"/runs/{view.query}")
    assert there.context["current_view"] == view
    assert 'aria-current="page">Good ones' in there.content.decode()


@pytest.mark.parametrize(("name", "query", "says"), [
    ("", QUERY, "0 characters"), ("x" * 61, QUERY, "61 characters"), ("Good ones", QUERY, "already"),
    ("Long", f"?q={'x' * 2000}", "2,003 characters"),
])
def test_a_name_is_needed_and_taken_once(owner_client: Client, team: Team, name: str, query: str, says: str) -> None:
    save(owner_client)
    assert says in save(owner_client, name, query)
    assert SavedView.objects.of(team).count() == 1


def test_a_view_is_renamed_and_deleted_after_a_question(owner_client: Client, team: Team) -> None:
    save(owner_client)
    view = SavedView.objects.get()
    owner_client.post(f"/runs/views/{view.pk}/rename/", {"name": "Better ones"})
    assert SavedView.objects.get().name == "Better ones"
    assert "Delete the view “Better ones”?" in owner_client.post(f"/runs/views/{view.pk}/delete/").content.decode()
    assert SavedView.objects.exists()
    owner_client.post(f"/runs/views/{view.pk}/delete/", {"confirmed": "1"})
    assert not SavedView.objects.exists()


def test_a_name_that_another_view_has_is_refused(owner_client: Client) -> None:
    save(owner_client)
    save(owner_client, "Other")
    other = SavedView.objects.get(name="Other")
    page = owner_client.post(f"/runs/views/{other.pk}/rename/", {"name": "Good ones"}, follow=True).content.decode()
    assert "There is a view “Good ones” already" in page and SavedView.objects.get(pk=other.pk).name == "Other"


def test_another_teams_view_is_not_there(owner_client: Client, stranger_client: Client, other_team: Team) -> None:
    save(owner_client)
    view = SavedView.objects.get()
    for action in ("rename", "delete"):
        answer = stranger_client.post(f"/runs/views/{view.pk}/{action}/", {"name": "x", "confirmed": "1"})
        assert answer.status_code == 404
    assert "Good ones" not in stranger_client.get("/runs/").content.decode()
    assert SavedView.objects.get().name == "Good ones"
