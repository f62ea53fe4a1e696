"""One's own account: a new password, and an end to all other sessions."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import logged_in
from webapp.accounts.models import Team, User

pytestmark = pytest.mark.django_db
CHANGE = {"old_password": "owner-password", "new_password1": "a-much-better-one", "new_password2": "a-much-better-one"}


def is_in(client: Client) -> bool:
    return client.get("/runs/").status_code == 200


def test_a_new_password_keeps_this_session_and_ends_the_others(owner: User, team: Team) -> None:
    here, elsewhere = logged_in(owner), logged_in(owner)
    assert here.post("/account/", CHANGE).status_code == 302
    assert is_in(here) and not is_in(elsewhere)
    assert not User.objects.get(username="owner").check_password("owner-password")
    assert User.objects.get(username="owner").check_password("a-much-better-one")


@pytest.mark.parametrize(("changes", "message"), [
    ({"old_password": "wrong"}, "was entered incorrectly"), ({"new_password2": "other-words"}, "match"),
    ({"new_password1": "12345678", "new_password2": "12345678"}, "entirely numeric")])
def test_what_is_wrong_is_said_and_the_password_stays(
        changes: dict[str, str], message: str, owner: User, owner_client: Client) -> None:
    answer = owner_client.post("/account/", CHANGE | changes)
    assert answer.status_code == 422 and message in answer.content.decode()
    assert "a-much-better-one" not in answer.content.decode()
    assert User.objects.get(username="owner").check_password("owner-password") and is_in(owner_client)


def test_logging_out_everywhere_ends_all_sessions_but_this_one(owner: User, team: Team, teammate: User) -> None:
    here, elsewhere, other = logged_in(owner), logged_in(owner), logged_in(teammate)
    assert here.post("/account/log-out-everywhere/").status_code == 302
    assert is_in(here) and not is_in(elsewhere) and is_in(other)
    assert is_in(logged_in(User.objects.get(pk=owner.pk))), "one can log in again"
    assert User.objects.get(username="owner").check_password("owner-password")


def test_sessions_from_before_there_was_a_salt_stay_valid(owner: User, team: Team) -> None:
    """The salt is empty until somebody asks: an upgrade logs nobody out."""
    assert owner.session_salt == "" and is_in(logged_in(owner))
    hash_before = owner.get_session_auth_hash()
    owner.session_salt = "x"
    assert owner.get_session_auth_hash() != hash_before


def test_the_rail_leads_to_the_account(owner_client: Client) -> None:
    assert 'href="/account/"' in owner_client.get("/runs/").content.decode()
    page = owner_client.get("/account/").content.decode()
    assert "Change your password" in page and "Log out everywhere else" in page
