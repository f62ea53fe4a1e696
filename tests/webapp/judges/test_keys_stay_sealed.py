"""A judge's key goes in and is never shown: not by a page, a recipe, an error or the database's own bytes."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from tests.webapp.judges.conftest import KEY
from training import config
from training.errors import BadSettings
from webapp.accounts.models import Team, User
from webapp.judges.keys import key_of, saved_key, saved_number
from webapp.judges.models import Connection
from webapp.judges.sealing import UnsealError, reseal, seal, unseal
from webapp.judges.services import connection_create, connection_edit


def test_what_is_sealed_for_one_place_opens_there_and_nowhere_else() -> None:
    token = seal("sk-1", "row 1")

    assert "sk-1" not in token
    assert unseal(token, "row 1") == "sk-1"
    with pytest.raises(UnsealError):
        unseal(token, "row 2")


def test_a_new_field_key_opens_what_the_old_one_sealed_until_the_old_one_is_taken_away(settings: Settings) -> None:
    settings.FIELD_KEYS = ["old"]
    token = seal("sk-1", "row 1")
    settings.FIELD_KEYS = ["new", "old"]
    renewed = reseal(token)
    settings.FIELD_KEYS = ["new"]

    assert unseal(renewed, "row 1") == "sk-1"
    with pytest.raises(UnsealError):
        unseal(token, "row 1")


def test_a_site_that_gets_its_first_field_key_still_opens_what_its_secret_key_sealed(settings: Settings) -> None:
    token = seal("sk-1", "row 1")
    settings.FIELD_KEYS = ["first"]

    assert unseal(token, "row 1") == "sk-1"


def test_all_keys_are_sealed_anew_by_one_command(
        judge: Connection, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.FIELD_KEYS = ["new"]
    call_command("reseal_keys")
    settings.SECRET_KEY = "another"

    judge.refresh_from_db()
    assert "1 keys are sealed with the newest key" in capsys.readouterr().out
    assert unseal(judge.sealed_key, judge.key_context) == KEY


def test_no_page_of_a_judge_holds_its_key(judge: Connection, owner_client: Client) -> None:
    for name in ("judges:detail", "judges:edit"):
        page = owner_client.get(reverse(name, args=[judge.pk])).content.decode()
        assert KEY not in page
        assert judge.sealed_key not in page


def test_a_refused_form_does_not_give_the_key_back(owner_client: Client, team: Team) -> None:
    page = owner_client.post(reverse("judges:new"), {"name": "", "kind": "openai", "key": KEY}).content.decode()

    assert "Please correct" in page
    assert KEY not in page


def test_the_database_holds_no_key_in_the_clear(judge: Connection) -> None:
    for value in Connection.objects.filter(pk=judge.pk).values_list().get():
        assert KEY not in str(value)


def test_a_recipe_names_the_key_and_does_not_hold_it(judge: Connection) -> None:
    assert judge.settings().api_key_env == f"CONCORD_JUDGE_SAVED_{judge.pk}_KEY"
    assert KEY not in judge.settings().model_dump_json()


def test_the_key_is_found_by_the_name_in_the_recipe(judge: Connection, team: Team) -> None:
    assert saved_number(judge.key_variable) == judge.pk
    assert saved_key(team=team, judge=judge.settings()) == KEY


def test_a_key_is_not_given_to_another_address(judge: Connection, team: Team) -> None:
    elsewhere = judge.settings().model_copy(update={"base_url": "https://evil.example/v1"})

    with pytest.raises(BadSettings) as refused:
        saved_key(team=team, judge=elsewhere)
    assert "another address" in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_key_moved_to_another_row_or_address_of_the_database_does_not_open(judge: Connection, team: Team) -> None:
    Connection.objects.filter(pk=judge.pk).update(base_url="https://evil.example/v1")
    judge.refresh_from_db()

    with pytest.raises(BadSettings, match="cannot be decrypted"):
        saved_key(team=team, judge=judge.settings())


def test_a_key_of_one_team_is_not_found_by_another(judge: Connection, other_team: Team) -> None:
    with pytest.raises(BadSettings, match="does not exist"):
        saved_key(team=other_team, judge=judge.settings())


def test_an_edit_of_the_address_leaves_the_key_behind(judge: Connection) -> None:
    moved = connection_edit(connection=judge, base_url="https://elsewhere.example/v1")

    assert not moved.has_key


def test_an_edit_of_the_name_keeps_the_key(judge: Connection, team: Team) -> None:
    renamed = connection_edit(connection=judge, name="Another name")

    assert saved_key(team=team, judge=renamed.settings()) == KEY


def test_a_judge_without_a_key_names_none(team: Team, owner: User) -> None:
    free = connection_create(team=team, user=owner, name="ollama", kind="server", model="m",
                             base_url="http://127.0.0.1:9/v1")

    assert free.settings().api_key_env == ""
    assert key_of(team=team, judge=free.settings()) == ""


def test_a_variable_that_is_not_set_is_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONCORD_JUDGE_MISSING_KEY", raising=False)
    judge = config.JudgeSettings(kind="openai", model="m", api_key_env="CONCORD_JUDGE_MISSING_KEY",
                         base_url="http://127.0.0.1:9/v1")

    with pytest.raises(BadSettings, match="CONCORD_JUDGE_MISSING_KEY is not set"):
        key_of(team=team, judge=judge)
