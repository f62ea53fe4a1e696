"""People join a team by a link: with a new account or their own, while it has places, and only then."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.conftest import logged_in
from webapp.accounts.invitations import invitation_create, invitation_of, invitation_use
from webapp.accounts.models import Invitation, Team, User

pytestmark = pytest.mark.django_db
ACCOUNT = {"username": "newcomer", "password1": "a-long-enough-one", "password2": "a-long-enough-one"}


def link_of(page: str) -> str:
    match = re.search(r"http://testserver(/join/[^<\"]+)", page)
    assert match, "the page shows no link"
    return match[1]


def names(team: Team) -> set[str]:
    return set(team.members.values_list("username", flat=True))


def test_a_newcomer_makes_an_account_and_is_in(owner_client: Client, team: Team) -> None:
    link = link_of(owner_client.post("/team/invitations/", {"places": "1"}, follow=True).content.decode())
    newcomer = Client()
    page = newcomer.get(link).content.decode()
    assert "owner invites you" in page and "Make an account and join" in page
    answer = newcomer.post(link, ACCOUNT, follow=True)
    assert answer.redirect_chain[-1][0] == "/runs/" and "Welcome to Alignment." in answer.content.decode()
    assert names(team) == {"owner", "newcomer"}
    assert User.objects.get(username="newcomer").check_password("a-long-enough-one")


def test_a_link_is_shown_once_and_only_its_digest_is_stored(owner_client: Client, team: Team) -> None:
    page = owner_client.post("/team/invitations/", {"places": "3"}, follow=True).content.decode()
    secret = link_of(page).rsplit("/", 2)[1]
    assert "/join/" not in owner_client.get("/team/").content.decode()
    invitation = Invitation.objects.get()
    assert secret not in invitation.digest and invitation_of(secret) == invitation


def test_somebody_with_an_account_joins_with_it(
        team: Team, owner: User, stranger: User, other_team: Team, anonymous_client: Client) -> None:
    _, secret = invitation_create(team=team, user=owner, places=2)
    page = anonymous_client.get(f"/join/{secret}/").content.decode()
    assert f'href="/login/?next=/join/{secret}/"' in page
    client = logged_in(stranger)
    assert "Join as stranger" in client.get(f"/join/{secret}/").content.decode()
    assert client.post(f"/join/{secret}/").status_code == 302
    assert names(team) == {"owner", "stranger"}
    assert "Alignment" in client.get("/team/").content.decode(), "the new team is the current one"
    client.post(f"/join/{secret}/")
    assert Invitation.objects.get().places == 1, "a member takes no second place"


def test_somebody_in_no_team_can_join(team: Team, owner: User) -> None:
    _, secret = invitation_create(team=team, user=owner, places=1)
    lonely = User.objects.create_user("lonely", password="lonely-password")
    assert logged_in(lonely).post(f"/join/{secret}/").status_code == 302
    assert "lonely" in names(team)


def closed(secret: str) -> bool:
    client = Client()
    answers = [client.get(f"/join/{secret}/"), client.post(f"/join/{secret}/", ACCOUNT)]
    assert not User.objects.filter(username="newcomer").exists()
    return all(answer.status_code == 404 and "not valid any more" in answer.content.decode() for answer in answers)


def test_a_link_that_is_used_up_old_withdrawn_or_made_up_lets_nobody_in(
        team: Team, owner: User, owner_client: Client, stranger: User) -> None:
    used, secret = invitation_create(team=team, user=owner, places=1)
    assert invitation_use(invitation=used, user=stranger)
    assert closed(secret) and closed("made-up")
    old, secret = invitation_create(team=team, user=owner, places=1)
    Invitation.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert closed(secret)
    withdrawn, secret = invitation_create(team=team, user=owner, places=1)
    owner_client.post(f"/team/invitations/{withdrawn.pk}/withdraw/")
    assert closed(secret)


def test_the_last_place_goes_to_one(team: Team, owner: User, stranger: User) -> None:
    invitation, _ = invitation_create(team=team, user=owner, places=1)
    late = User.objects.create_user("late")
    assert invitation_use(invitation=invitation, user=stranger)
    assert not invitation_use(invitation=invitation, user=late), "who read it before sees the place taken"
    assert names(team) == {"owner", "stranger"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"username": "owner"}, "already exists"), ({"password1": "short", "password2": "short"}, "too short"),
    ({"password2": "another-one"}, "match"), ({"username": ""}, "required")])
def test_a_wrong_account_is_refused_at_its_field_and_takes_no_place(
        changes: dict[str, str], message: str, team: Team, owner: User) -> None:
    invitation, secret = invitation_create(team=team, user=owner, places=1)
    answer = Client().post(f"/join/{secret}/", ACCOUNT | changes)
    assert answer.status_code == 422 and message in answer.content.decode()
    invitation.refresh_from_db()
    assert invitation.places == 1 and names(team) == {"owner"}


@pytest.mark.parametrize(("typed", "places"), [("0", 1), ("-4", 1), ("900", 50), ("many", 1), ("", 1), ("7", 7)])
def test_places_are_kept_within_bounds(typed: str, places: int, owner_client: Client, team: Team) -> None:
    owner_client.post("/team/invitations/", {"places": typed})
    assert Invitation.objects.get().places == places


def test_another_teams_invitations_cannot_be_withdrawn(team: Team, owner: User, stranger_client: Client) -> None:
    invitation, _ = invitation_create(team=team, user=owner, places=1)
    assert stranger_client.post(f"/team/invitations/{invitation.pk}/withdraw/").status_code == 404
    assert Invitation.objects.exists()
