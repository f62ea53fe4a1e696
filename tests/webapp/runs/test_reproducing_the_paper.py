"""The paper's experiments as runs of a team: each arm and seed once, on shared stages."""

from __future__ import annotations

import pytest
from django.test import Client

from webapp.accounts.models import Team
from webapp.runs.models import Run, Stage
from webapp.runs.page import paper_views

ADDRESS = "/runs/paper/"


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_views, "SEEDS", (0,))


def test_the_page_names_the_policies_and_the_command(owner_client: Client) -> None:
    page = owner_client.get(ADDRESS).content.decode()
    for words in ("13 runs in the demo world", "bernoulli nash", "pooled PM", "factuality only",
                  "python -m training paper --out DIR"):
        assert words in page, words
    assert ADDRESS in owner_client.get("/runs/").content.decode()


def test_starting_it_makes_a_run_an_arm_that_share_what_they_can(owner_client: Client, team: Team) -> None:
    answer = owner_client.post(f"{ADDRESS}start/", {"confirmed": "1"})
    assert answer.status_code == 302 and answer["Location"] == "/runs/?q=The+paper:"
    assert Run.objects.of(team).count() == 13
    kinds = list(Stage.objects.of(team).values_list("kind", flat=True))
    assert {kind: kinds.count(kind) for kind in ("sample", "label", "draw", "preference_model", "ppo")} == {
        "sample": 1, "label": 4, "draw": 2, "preference_model": 6, "ppo": 13}


def test_what_was_started_is_not_started_again(owner_client: Client, team: Team) -> None:
    owner_client.post(f"{ADDRESS}start/", {"confirmed": "1"})
    Run.objects.of(team).filter(name="The paper: linear, 0").update(status=Run.Status.FAILED)
    owner_client.post(f"{ADDRESS}start/", {"confirmed": "1"})
    assert Run.objects.of(team).count() == 14
    assert "Show the 14 already started" in owner_client.get(ADDRESS).content.decode()


def test_it_is_started_by_post_and_by_members_only(owner_client: Client, anonymous_client: Client) -> None:
    assert owner_client.get(f"{ADDRESS}start/").status_code == 405
    assert anonymous_client.get(ADDRESS).status_code == 302
    assert anonymous_client.post(f"{ADDRESS}start/").status_code == 302
    assert Run.objects.count() == 0
