"""The frame around every page: who sees what of it, its theme, and that it breaks for nobody."""

from __future__ import annotations

import re

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from tests.conftest import logged_in
from webapp.accounts.models import Membership, Team, User
from webapp.accounts.services import demo_seed


def test_the_rail_names_the_team_and_marks_where_one_is(owner_client: Client) -> None:
    page = owner_client.get(reverse("principles:list")).content.decode()

    assert "Alignment" in page
    assert f'href="{reverse("principles:list")}" aria-current="page"' in page
    assert page.count('aria-current="page"') == 1


def test_only_staff_is_led_to_the_review(owner: User, owner_client: Client) -> None:
    assert "/review/" not in owner_client.get(reverse("team")).content.decode()

    owner.is_staff = True
    owner.save()
    assert "/review/" in owner_client.get(reverse("team")).content.decode()


def test_who_is_in_no_team_is_told_so(db: None) -> None:
    loner = User.objects.create_user("loner")

    answer = logged_in(loner).get(reverse("principles:list"))

    assert answer.status_code == 403
    assert "not in a team yet" in answer.content.decode()


def test_a_member_of_two_teams_chooses_where_to_work(owner: User, owner_client: Client, other_team: Team) -> None:
    Membership.objects.create(team=other_team, user=owner)
    assert owner_client.get(reverse("team")).context["team"].name == "Alignment"

    owner_client.post(reverse("team"), {"team": other_team.pk})

    assert owner_client.get(reverse("team")).context["team"] == other_team


@pytest.mark.parametrize("number", ["", "x", "99999", "²"])
def test_nobody_switches_to_a_team_that_is_not_theirs(owner_client: Client, other_team: Team, number: str) -> None:
    assert owner_client.post(reverse("team"), {"team": other_team.pk}).status_code == 404
    assert owner_client.post(reverse("team"), {"team": number}).status_code == 404


def test_the_team_page_takes_as_many_queries_for_many_members(
    owner_client: Client, team: Team, django_assert_max_num_queries: object,
) -> None:
    for number in range(20):
        Membership.objects.create(team=team, user=User.objects.create_user(f"member-{number}"))

    with django_assert_max_num_queries(7):  # type: ignore[operator]
        owner_client.get(reverse("team"))


@pytest.mark.parametrize(("theme", "painted"), [("dark", True), ("light", True), ("system", False)])
def test_a_theme_is_painted_from_the_first_byte(owner_client: Client, theme: str, painted: bool) -> None:
    answer = owner_client.post(reverse("theme"), {"theme": theme, "next": "/team/"})

    assert answer.headers["Location"] == "/team/"
    assert (f'data-theme="{theme}"' in owner_client.get("/team/").content.decode()) is painted


@pytest.mark.parametrize("address", ["https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)"])
def test_the_theme_switch_leads_nowhere_else(owner_client: Client, address: str) -> None:
    assert owner_client.post(reverse("theme"), {"theme": "dark", "next": address}).headers["Location"] == "/"


def test_an_unknown_theme_is_refused(owner_client: Client) -> None:
    assert owner_client.post(reverse("theme"), {"theme": "<script>"}).status_code == 400
    owner_client.cookies["theme"] = '"><script>'
    assert "<script>" not in owner_client.get("/team/").content.decode()


def test_the_login_page_shows_the_demo_login_on_a_laptop_only(anonymous_client: Client, settings: Settings) -> None:
    assert settings.DEMO_PASSWORD not in anonymous_client.get(reverse("login")).content.decode()

    demo_seed()
    assert settings.DEMO_PASSWORD in anonymous_client.get(reverse("login")).content.decode()

    settings.PRODUCTION = True
    assert settings.DEMO_PASSWORD not in anonymous_client.get(reverse("login")).content.decode()


def test_a_wrong_password_is_said_plainly(anonymous_client: Client, owner: User) -> None:
    answer = anonymous_client.post(reverse("login"), {"username": "owner", "password": "wrong"})

    assert "correct" in answer.content.decode()


def test_a_page_that_does_not_exist_says_so_to_everybody(anonymous_client: Client, owner_client: Client) -> None:
    for client in (anonymous_client, owner_client):
        answer = client.get("/nowhere/")
        assert answer.status_code == 404
        assert "Not found" in answer.content.decode()


def test_the_page_of_a_broken_server_needs_no_context() -> None:
    assert "Something broke" in render_to_string("500.html")


def test_pages_may_load_nothing_inline(owner_client: Client) -> None:
    policy = owner_client.get(reverse("team")).headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(("name", "place"), [("sweeps:list", "runs:list"), ("fronts:list", "runs:list"),
                                             ("calibration:set_list", "judges:list")])
def test_a_place_without_a_line_in_the_rail_stands_under_its_own(owner_client: Client, name: str, place: str) -> None:
    page = owner_client.get(reverse(name)).content.decode()
    assert re.findall(r'href="([^"]*)" aria-current="page"', page) == [reverse(place)]
