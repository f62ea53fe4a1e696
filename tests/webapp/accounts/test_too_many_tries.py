"""Who guesses passwords is stopped, and told what to do; who only shares a name or a proxy with them is not."""

from __future__ import annotations

import ipaddress

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from webapp.accounts.client_address import client_address
from webapp.accounts.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("team", "other_team")]


def try_to_log_in(client: Client, user: User, password: str, **headers: str) -> int:
    return client.post(reverse("login"), {"username": user.username, "password": password}, **headers).status_code


def guess(client: Client, user: User, times: int = settings.AXES_FAILURE_LIMIT, **headers: str) -> int:
    return [try_to_log_in(client, user, "wrong", **headers) for _ in range(times)][-1]


def right(user: User) -> str:
    return f"{user.username}-password"


def test_after_too_many_wrong_passwords_the_page_says_to_wait(owner: User) -> None:
    client = Client()
    assert guess(client, owner) == 429
    answer = client.post(reverse("login"), {"username": owner.username, "password": right(owner)})
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.content.decode()


def test_a_client_cannot_escape_by_writing_an_address_of_its_own(owner: User) -> None:
    client = Client()
    for number in range(settings.AXES_FAILURE_LIMIT):
        status = try_to_log_in(client, owner, "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert status == 429


@pytest.mark.parametrize("address", ["2a00:1450:4001:81b::{}", "2a00:1450:4001:81b:{}::1", "fe80::{}%eth0"])
def test_one_ipv6_network_is_one_client(owner: User, address: str) -> None:
    for number in range(settings.AXES_FAILURE_LIMIT):
        status = try_to_log_in(Client(), owner, "wrong", REMOTE_ADDR=address.format(number + 1))
    assert status == 429
    assert try_to_log_in(Client(), owner, right(owner), REMOTE_ADDR="2a00:1450:4001:81c::1") == 302


def test_behind_a_trusted_proxy_each_client_is_counted_by_its_own_address(owner: User, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("172.16.0.0/12")]
    proxy = {"REMOTE_ADDR": "172.18.0.1"}
    assert guess(Client(), owner, **proxy, HTTP_X_FORWARDED_FOR="203.0.113.9") == 429
    assert try_to_log_in(Client(), owner, right(owner), **proxy, HTTP_X_FORWARDED_FOR="203.0.113.10") == 302
    forged = {"HTTP_X_FORWARDED_FOR": "203.0.113.11, 203.0.113.9"}  # the proxy adds the true address at the end
    assert try_to_log_in(Client(), owner, right(owner), **proxy, **forged) == 429


def test_a_known_browser_is_not_locked_out_by_somebody_at_the_same_address(owner: User) -> None:
    browser = Client()
    assert try_to_log_in(browser, owner, right(owner)) == 302
    browser.post(reverse("logout"))
    assert guess(Client(), owner) == 429
    assert try_to_log_in(browser, owner, right(owner)) == 302


def test_a_known_browser_has_no_more_tries_than_an_address(owner: User) -> None:
    browser = Client()
    try_to_log_in(browser, owner, right(owner))
    browser.post(reverse("logout"))
    assert guess(browser, owner) == 429
    assert try_to_log_in(browser, owner, right(owner)) == 429


def test_a_browser_is_known_for_its_own_user_only_and_by_a_true_signature_only(owner: User, stranger: User) -> None:
    browser = Client()
    try_to_log_in(browser, stranger, right(stranger))
    browser.post(reverse("logout"))
    assert guess(Client(), owner) == 429
    assert try_to_log_in(browser, owner, right(owner)) == 429, "another person's cookie helps nobody"
    browser.cookies["known_browser"] = browser.cookies["known_browser"].value[:-2] + "xx"
    assert try_to_log_in(browser, owner, right(owner)) == 429


@pytest.mark.parametrize(("peer", "forwarded", "address"), [
    ("203.0.113.5", "1.2.3.4", "203.0.113.5"),
    ("127.0.0.1", "", "127.0.0.1"),
    ("10.0.0.2", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
    ("10.0.0.2", "198.51.100.7, 10.0.0.3", "198.51.100.7"),
    ("10.0.0.2", "[2001:db8:5::9]:443", "2001:db8:5::9"),
    ("10.0.0.2", "198.51.100.7:5000", "198.51.100.7"),
    ("::ffff:10.0.0.2", "198.51.100.7", "198.51.100.7"),
    ("10.0.0.2", "unknown", "10.0.0.2"),
    ("", "1.2.3.4", "0.0.0.0"),
])
def test_the_address_is_the_last_one_that_is_no_trusted_proxy(
    peer: str, forwarded: str, address: str, settings: Settings,
) -> None:
    settings.TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]
    assert client_address({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}) == address
