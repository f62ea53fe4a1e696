"""Roles: owners and members see everything of the team, annotators only what is assigned to them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.conftest import logged_in, make_user
from tests.webapp.arena.answers import make_arena
from tests.webapp.test_isolation import FOR_EVERYBODY, SECRET, addresses, cookie_of, opened, rows, state_of, status_of
from webapp.accounts.invitations import invitation_create
from webapp.accounts.models import Invitation, Membership, Role, Team, User
from webapp.accounts.services import member_add, member_remove, team_create

pytestmark = pytest.mark.django_db
# What is open to annotators: nothing of the team is on it but what is assigned to them.
OPEN = FOR_EVERYBODY | {"home", "account", "log_out_everywhere", "team_switch", "principles:hues", "arena:list",
                        "arena:vote", "review:list", "review:queue"}
assert rows  # the fixture of one of everything


@pytest.fixture
def annotator(team: Team) -> User:
    user = make_user("annotator")
    member_add(team=team, user=user, role=Role.ANNOTATOR)
    return user


@pytest.fixture
def annotator_client(annotator: User) -> Client:
    return logged_in(annotator)


def role_of(team: Team, user: User) -> str:
    return Membership.objects.get(team=team, user=user).role


def test_who_makes_a_team_owns_it_and_who_is_added_is_a_member(team: Team, owner: User, teammate: User) -> None:
    assert (role_of(team, owner), role_of(team, teammate)) == ("owner", "member")


@pytest.mark.parametrize("is_staff", [False, True])
@pytest.mark.parametrize("method", ["get", "post"])
def test_every_address_is_shut_to_an_annotator_unless_it_is_named_here(
        method: str, is_staff: bool, rows: dict[str, Any], annotator: User) -> None:  # noqa: F811
    """A new page is walked as soon as it is there: it answers 403 until somebody opens it, and adds it to OPEN."""
    annotator.is_staff = is_staff
    annotator.save()
    before, reached = state_of(rows), []
    for address in addresses():
        if address.name in OPEN:
            continue
        answer = getattr(logged_in(annotator), method)(address.path(rows))
        if answer.status_code != 403 or SECRET in answer.content.decode():
            reached.append(f"{address.name}: {answer.status_code}")
    assert not reached
    assert state_of(rows) == before


def test_the_refusal_says_what_the_role_may_do(annotator_client: Client) -> None:
    page = annotator_client.get("/runs/")
    assert page.status_code == 403
    text = page.content.decode()
    assert "You are an annotator of Alignment." in text and "vote in arenas" in text and "change your role" in text


def test_the_rail_of_an_annotator_has_only_what_is_open(annotator_client: Client, team: Team, owner: User) -> None:
    make_arena(team, owner, name="Which is kinder")
    page = annotator_client.get("/", follow=True).content.decode()
    assert 'href="/arena/"' in page
    for closed in ("/runs/", "/labels/?", "/team/", "/playground/", "/search/", "/board/", "/arena/new/"):
        assert f'href="{closed}' not in page and f'data-search="{closed}' not in page, closed


def test_an_annotator_votes_and_does_not_see_the_board(annotator_client: Client, team: Team, owner: User) -> None:
    arena = make_arena(team, owner)
    page = annotator_client.get(reverse("arena:vote", args=[arena.pk])).content.decode()
    assert "Which answer is better?" in page and "/board/" not in page
    assert annotator_client.get(reverse("arena:board", args=[arena.pk])).status_code == 403


def test_logging_in_leads_each_role_to_a_page_that_is_open_to_it(annotator: User, owner: User, team: Team) -> None:
    for user, place in ((owner, "/runs/"), (annotator, "/labels/review/")):
        answer = Client().post("/login/", {"username": user.username, "password": f"{user.username}-password"},
                               follow=True)
        assert answer.status_code == 200 and answer.redirect_chain[-1][0].startswith(place)


def test_an_invitation_carries_a_role(owner_client: Client, team: Team, stranger: User) -> None:
    owner_client.post("/team/invitations/", {"places": "1", "role": "annotator"})
    assert Invitation.objects.get().role == "annotator"
    _, secret = invitation_create(team=team, user=team.members.get(), places=1, role="annotator")
    client = logged_in(stranger)
    assert "decide on the pairs" in client.get(f"/join/{secret}/").content.decode()
    assert client.post(f"/join/{secret}/", follow=True).status_code == 200
    assert role_of(team, stranger) == "annotator"


def test_nobody_is_invited_as_an_owner(owner: User, team: Team) -> None:
    assert invitation_create(team=team, user=owner, places=1, role="owner")[0].role == "member"


def change(client: Client, team: Team, user: User, role: str) -> str:
    pk = Membership.objects.get(team=team, user=user).pk
    return client.post(reverse("member_role", args=[pk]), {"role": role}, follow=True).content.decode()


def test_a_member_makes_another_an_annotator_and_back(teammate_client: Client, team: Team, annotator: User) -> None:
    change(teammate_client, team, annotator, "member")
    assert role_of(team, annotator) == "member"
    change(teammate_client, team, annotator, "annotator")
    assert role_of(team, annotator) == "annotator"


def test_the_last_member_cannot_become_an_annotator_nor_leave(
        owner: User, owner_client: Client, team: Team, annotator: User) -> None:
    assert "The last member cannot become an annotator" in change(owner_client, team, owner, "annotator")
    assert not member_remove(team=team, user=owner), "only annotators would be left"
    assert role_of(team, owner) == "owner"


def test_only_an_owner_makes_and_unmakes_owners(
        owner: User, owner_client: Client, teammate: User, teammate_client: Client, team: Team) -> None:
    for user, role in ((teammate, "owner"), (owner, "member")):
        assert "Only an owner of the team" in change(teammate_client, team, user, role)
    assert (role_of(team, owner), role_of(team, teammate)) == ("owner", "member")
    change(owner_client, team, teammate, "owner")
    assert role_of(team, teammate) == "owner"


def test_in_a_team_of_before_without_an_owner_a_member_may_become_one(
        team: Team, owner: User, owner_client: Client) -> None:
    Membership.objects.update(role="member")
    change(owner_client, team, owner, "owner")
    assert role_of(team, owner) == "owner"


def test_a_role_that_does_not_exist_is_named(owner_client: Client, team: Team, teammate: User) -> None:
    assert "“emperor” is no role. Choose owner, member, annotator." in change(owner_client, team, teammate, "emperor")


def test_who_annotates_in_one_team_and_owns_another_changes_between_them(annotator: User) -> None:
    own = team_create(name="Own", user=annotator)
    client = logged_in(annotator)
    assert client.get("/runs/").status_code == 403
    assert "Switch team" in client.get("/account/").content.decode()
    assert client.post("/team/switch/", {"team": str(own.pk)}).status_code == 302
    assert client.get("/runs/").status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_the_pane_and_the_socket_of_a_run_are_shut_to_annotators(
        rows: dict[str, Any], annotator: User) -> None:  # noqa: F811
    from asgiref.sync import sync_to_async

    cookie = await sync_to_async(cookie_of)(annotator)
    assert await status_of("/playground/pane/config", "GET", cookie) == 403
    assert (await opened(f"/ws/runs/{rows['run']}/", cookie))["type"] == "websocket.close"
