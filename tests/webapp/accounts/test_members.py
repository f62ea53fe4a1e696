"""Who is on a team: members add and remove each other, and the last one stays."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from webapp.accounts.models import Membership, Team, User


def names(team: Team) -> set[str]:
    return set(team.members.values_list("username", flat=True))


def test_a_member_adds_another_by_the_login_name(owner_client: Client, team: Team, stranger: User) -> None:
    owner_client.post(reverse("member_add"), {"username": " stranger "})
    owner_client.post(reverse("member_add"), {"username": "stranger"})

    assert names(team) == {"owner", "stranger"}
    assert Membership.objects.filter(team=team).count() == 2


@pytest.mark.parametrize("name", ["", "nobody", "x" * 500])
def test_a_name_that_nobody_has_is_said(owner_client: Client, team: Team, name: str) -> None:
    page = owner_client.post(reverse("member_add"), {"username": name}, follow=True)

    assert "No account has the login name" in page.content.decode()
    assert names(team) == {"owner"}


def test_who_is_removed_sees_nothing_any_more(
    owner_client: Client, teammate_client: Client, team: Team, teammate: User,
) -> None:
    membership = Membership.objects.get(team=team, user=teammate)

    owner_client.post(reverse("member_remove", args=[membership.pk]), {"confirmed": "1"})

    assert names(team) == {"owner"}
    assert teammate_client.get(reverse("team")).status_code == 403


def test_the_last_member_stays(owner_client: Client, team: Team) -> None:
    page = owner_client.post(reverse("member_remove", args=[team.memberships.get().pk]), {"confirmed": "1"},
                             follow=True)

    assert "The last member cannot be removed" in page.content.decode()
    assert names(team) == {"owner"}


def test_a_stranger_changes_nobodys_team_but_their_own(
    stranger_client: Client, team: Team, teammate: User,
) -> None:
    membership = Membership.objects.get(team=team, user=teammate)

    assert stranger_client.post(reverse("member_remove", args=[membership.pk]), {"confirmed": "1"}).status_code == 404
    stranger_client.post(reverse("member_add"), {"username": "stranger"})

    assert names(team) == {"owner", "teammate"}
