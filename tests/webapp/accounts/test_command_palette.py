"""The command palette finds what a member may see, and nothing else."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from webapp.accounts.models import Team
from webapp.datasets.models import Dataset
from webapp.runs.models import Run


def titles(client: Client, words: str) -> list[tuple[str, str]]:
    answer = client.get(reverse("search"), {"q": words})
    return [(place["title"], place["kind"]) for place in answer.json()["found"]]


def test_without_words_the_pages_are_offered(owner_client: Client) -> None:
    entries = titles(owner_client, "")

    assert ("Runs", "page") in entries and ("New run", "action") in entries
    assert not [title for title, kind in entries if kind in {"run", "principle", "dataset"}]


def test_runs_principles_and_datasets_are_found_by_part_of_their_name(owner_client: Client, team: Team) -> None:
    Run.objects.create(team=team, name="Toxicity sweep", recipe={})
    Dataset.objects.create(team=team, name="less toxic pairs")

    assert titles(owner_client, " TOXIC ") == [
        ("Toxicity sweep", "run"), ("toxicity", "principle"), ("less toxic pairs", "dataset")]


def test_every_address_offered_leads_somewhere(owner_client: Client, team: Team) -> None:
    places = owner_client.get(reverse("search"), {"q": "to"}).json()["found"]

    assert places
    for place in places:
        assert owner_client.get(place["address"], follow=True).status_code == 200, place


def test_another_teams_things_are_not_found(stranger_client: Client, team: Team) -> None:
    Run.objects.create(team=team, name="secret plan", recipe={})

    assert titles(stranger_client, "secret") == []
