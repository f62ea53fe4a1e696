"""NUL characters and numbers beyond every database, in an address, cookie or form: an answer in words, never a 500."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.webapp.test_isolation import addresses, shut
from webapp.accounts.models import Team
from webapp.accounts.numbers import row_key
from webapp.principles.models import Principle

NUMBERS = ["9" * 5000, "9" * 19, str(2**63), "-1", "\u0663" * 30, "1e999", "0x10", "", " 7", "7\n", "①"]


@pytest.fixture
def client(owner_client: Client, owner: Any) -> Client:
    owner.is_staff = True
    owner.save()
    owner_client.raise_request_exception = False
    return owner_client


def posts() -> list[str]:
    return [reverse(address.name) for address in addresses()
            if not address.variables and not shut(address) and address.name not in {"logout", "admin:logout"}]


@pytest.mark.parametrize("name", ["q", "page", "run", "dataset", "principle", "judge", "clone", "preset", "sort",
                                  "status", "pair", "from", "next", "a\x00b"])
def test_a_nul_in_an_address_finds_nothing_and_breaks_nothing(client: Client, name: str) -> None:
    for path in posts():
        answer = client.get(path, {name: "a\x00b"})
        assert answer.status_code < 500, (path, name)


def test_a_nul_in_any_form_is_refused_with_its_field(client: Client) -> None:
    for path in posts():
        answer = client.post(path, {"name": "fine", "username": "a\x00b", "kind": "approve"})
        assert answer.status_code == 422, path
        assert "“username” holds a NUL character (U+0000 at character 2)" in answer.content.decode()


def test_nor_does_the_name_of_a_field_or_of_a_file_get_past(client: Client) -> None:
    assert client.post("/runs/new/", {"na\x00me": "x"}).status_code == 422


def test_a_cookie_with_a_nul_is_nobodys(anonymous_client: Client, team: Team) -> None:
    anonymous_client.raise_request_exception = False
    for cookie in ('sessionid="a\\000b"', 'csrftoken="\\000"', 'theme="\\000"', 'known_browser="\\000"'):
        assert anonymous_client.get("/runs/", headers={"cookie": cookie}).status_code == 302


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_no_row_has_is_not_found(client: Client, team: Team, number: str) -> None:
    principle = f"/principles/{Principle.objects.of(team)[0].pk}/"
    for path, name in [("/playground/", "run"), (principle, "pair"), (principle, "from"), ("/runs/new/", "clone"),
                       ("/runs/new/", "judge"), ("/labels/", "run"), ("/labels/", "dataset"),
                       ("/labels/", "page"), ("/runs/", "page"), ("/labels/actions/", "page")]:
        assert client.get(path, {name: number}).status_code in {200, 404, 422}, (path, name)
    assert client.post("/team/", {"team": number}).status_code in {302, 404}
    assert client.post("/runs/new/", {"source": f"dataset:{number}"}).status_code == 422
    review = {"action": "approve", "_selected_action": [number, "x"]}
    assert client.post("/review/labels/label/", review).status_code in {200, 302}


@pytest.mark.parametrize("back", [
    "nan", "-1", "[]", "runs:nothing", "{}", "a" * 300, "?next=/", "%00", "/\r\nX: y", "//x.org"])
def test_a_theme_is_chosen_wherever_one_comes_from(client: Client, back: str) -> None:
    answer = client.post("/theme/", {"theme": "dark", "next": back})
    assert answer.status_code == 302 and answer.url.startswith("/") and "\n" not in answer.url
    assert not answer.url.startswith("//") and client.cookies["theme"].value == "dark"


@pytest.mark.parametrize(("text", "key"), [
    ("0", 0), ("17", 17), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), ("9" * 19, None), ("-1", None),
    ("1.0", None), (" 1", None), ("1\n", None), ("\u0663", None), (7, None)])
def test_a_rows_key_is_a_number_that_a_row_can_have(text: object, key: int | None) -> None:
    assert row_key(text) == key
