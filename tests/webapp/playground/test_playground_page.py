"""The page around the pane."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from webapp.accounts.models import Team
from webapp.runs.models import Run

FinishRun = Callable[..., Run]


def test_without_a_finished_run_it_says_what_to_do(owner_client: Client) -> None:
    page = owner_client.get("/playground/").content.decode()
    assert "Start the demo run" in page
    assert 'data-src="/playground/pane/?' in page, "the demo world's base is there to talk to"


def test_the_run_in_the_address_reaches_the_pane(owner_client: Client, team: Team, finish_run: FinishRun) -> None:
    run = finish_run(team)
    page = owner_client.get(f"/playground/?run={run.pk}").content.decode()
    assert f'data-src="/playground/pane/?run={run.pk}"' in page
    assert "Start the demo run" not in page


def test_nothing_from_the_address_is_let_through(owner_client: Client) -> None:
    page = owner_client.get('/playground/?run="><script>').content.decode()
    assert "<script>" not in page.split('id="content"')[1]


def test_it_says_when_it_is_the_demo_world(owner_client: Client, team: Team, finish_run: FinishRun) -> None:
    assert b"The demo world is for learning and testing" in owner_client.get("/playground/").content
    finish_run(team, base="org/real-model")
    assert b"The demo world is for learning and testing" not in owner_client.get("/playground/").content


def test_it_is_for_members(anonymous_client: Client) -> None:
    assert anonymous_client.get("/playground/").url.startswith("/login/")
