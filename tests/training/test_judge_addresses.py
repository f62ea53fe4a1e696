"""Where a judge may be: public addresses, and those that the administrator listed."""

from __future__ import annotations

import ipaddress
import socket

import httpx2
import pytest
from aiohttp import ClientSession

from tests.training.scripted_server import Reply, letters, serving
from training.config import JudgeSettings
from training.config.address import BadAddress, parse_address
from training.errors import JudgeUnavailable
from training.judges.addresses import AddressGuard, GuardedTransport, guarded_connector, is_public

CLOSED, OPEN = AddressGuard(), AddressGuard(("127.0.0.1", "localhost"))


@pytest.mark.parametrize("url", [
    "https://127.0.0.1/v1", "https://169.254.169.254/latest/meta-data", "https://10.0.0.7/v1", "https://[::1]/v1",
    "https://[::ffff:10.0.0.1]/v1", "https://2130706433/v1", "https://0x7f000001/v1", "https://127.1/v1",
    "https://100.64.0.1/v1", "https://[fd00::1]/v1", "https://[fe80::1]/v1", "https://0.0.0.0/v1",
    "https://[2002:7f00:1::]/v1", "https://[64:ff9b::a00:1]/v1"])
def test_an_address_inside_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(JudgeUnavailable, match="inside a private network"):
        CLOSED.check_url(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x/", "https://", "", "//x/v1", "x"])
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(JudgeUnavailable, match="no web address"):
        CLOSED.check_url(url)


def test_plain_http_is_for_listed_hosts_only() -> None:
    with pytest.raises(JudgeUnavailable, match="not encrypted"):
        CLOSED.check_url("http://example.com/v1")
    assert AddressGuard(("vllm.lan",)).check_url("http://vllm.lan:8000/v1") == "vllm.lan"
    assert CLOSED.check_url("https://api.openai.com/v1") == "api.openai.com"


def test_a_key_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(JudgeUnavailable, match="user name or a password") as caught:
        CLOSED.check_url("https://me:sk-secret@example.com/v1")
    assert "sk-secret" not in str(caught.value)


def test_a_listed_network_lets_its_addresses_in_and_no_others() -> None:
    guard = AddressGuard(("10.1.0.0/16",))
    assert guard.check_url("http://10.1.2.3:8000/v1") == "10.1.2.3"
    with pytest.raises(JudgeUnavailable):
        guard.check_url("http://10.2.0.1/v1")


def test_the_internet_is_public_and_nothing_else_is() -> None:
    assert is_public(ipaddress.ip_address("93.184.215.14")) and is_public(ipaddress.ip_address("2606:4700::1111"))
    assert is_public(ipaddress.ip_address("64:ff9b::5db8:d70e")), "a public address behind NAT64"
    assert not any(is_public(ipaddress.ip_address(inside)) for inside in
                   ("224.0.0.1", "240.0.0.1", "192.168.1.1", "::", "ff02::1"))


async def test_a_name_that_resolves_inside_is_refused_where_it_is_connected_to() -> None:
    with serving(lambda *_: letters(0.5)) as server:
        port = server.server_address[1]
        async with ClientSession(connector=guarded_connector(CLOSED)) as session:
            with pytest.raises(JudgeUnavailable, match="'localhost' is inside a private network"):
                await session.post(f"https://localhost:{port}/v1/chat/completions", json={})
        async with httpx2.AsyncClient(transport=GuardedTransport(CLOSED)) as client:
            with pytest.raises(JudgeUnavailable, match="inside a private network"):
                await client.post(f"https://localhost:{port}/v1/chat/completions", json={})
        assert server.requests == []


@pytest.mark.parametrize("addresses", [
    ("93.184.215.14", "10.0.0.7"), ("10.0.0.7", "93.184.215.14"), ("93.184.215.14", "93.184.215.15", "127.0.0.1")])
async def test_a_name_of_which_any_address_is_inside_is_refused(
        addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(JudgeUnavailable, match=r"'judge\.example' is inside a private network"):
        await CLOSED.resolve("judge.example", 443)


async def test_a_listed_host_is_connected_to_under_its_own_name() -> None:
    hosts: list[str] = []

    def script(*_: object) -> Reply:
        return letters(0.5)

    with serving(script) as server:
        port = server.server_address[1]
        async with httpx2.AsyncClient(transport=GuardedTransport(OPEN)) as client:
            reply = await client.post(f"http://localhost:{port}/v1/chat/completions", json={})
            hosts.append(reply.request.headers["host"])
        async with ClientSession(connector=guarded_connector(OPEN)) as session:
            answer = await session.post(f"http://localhost:{port}/v1/chat/completions", json={})
            await answer.read()
    assert hosts == [f"localhost:{port}"] and reply.status_code == answer.status == 200


async def test_a_redirect_into_the_network_is_not_followed() -> None:
    script = lambda *_: Reply(307, {}, {"Location": "http://169.254.169.254/latest/meta-data"})  # noqa: E731
    with serving(script) as server:
        async with httpx2.AsyncClient(transport=GuardedTransport(OPEN)) as client:
            reply = await client.post(f"{server.base_url}/chat/completions", json={})
    assert reply.status_code == 307 and len(server.requests) == 1


@pytest.mark.parametrize("host", [
    "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "𝟏𝟐𝟕.1", "⑩.⓪.⓪.⑦", "²¹³⁰⁷⁰⁶⁴³³", "169.254.169.254.",
    "[::ffff:169.254.169.254]", "０x7f.1", "[fe80::1%25eth0]"])
def test_an_address_in_other_digits_is_what_a_client_makes_of_it(host: str) -> None:
    with pytest.raises(JudgeUnavailable, match=r"inside a private network|no IPv6 address"):
        CLOSED.check_url(f"https://{host}/v1")


@pytest.mark.parametrize("host", ["①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "ⓛocalhost"])
async def test_aiohttp_and_the_sdk_reach_nothing_inside_however_the_host_is_spelled(host: str) -> None:
    with serving(lambda *_: letters(0.5)) as server:
        url = f"https://{host}:{server.server_address[1]}/v1/chat/completions"
        async with ClientSession(connector=guarded_connector(CLOSED)) as session:
            with pytest.raises(JudgeUnavailable, match="inside a private network"):
                await session.post(url, json={})
        async with httpx2.AsyncClient(transport=GuardedTransport(CLOSED)) as client:
            with pytest.raises(JudgeUnavailable, match="inside a private network"):
                await client.post(parse_address(url).url, json={})
        assert server.requests == []


@pytest.mark.parametrize("url", [
    "http://[::1", f"https://{'a' * 300}.example", "https://.example", "https://a..example", "https://x:99999/v1",
    "https://x:0/v1", "https://x:８０/v1", "https://xn--zz/v1", "https://a／b.example", "https://-x.example",
    f"https://{'b' * 64}.example", "https://a\tb.example", "https://a\\@b.example", "https://[1::2::3]/v1",
    "https://1.2.3.4.5/v1", "https://x/v1?api-version=1", "https://localhost\u200d/v1", "https://%31%32%37.0.0.1/v1"])
def test_what_no_client_could_connect_to_is_refused_with_its_reason(url: str) -> None:
    with pytest.raises(BadAddress, match=r"is no|is neither|holds|names port|has 3"):
        parse_address(url)
    with pytest.raises(JudgeUnavailable, match="address cannot be used"):
        OPEN.check_url(url)


@pytest.mark.parametrize(("typed", "normal"), [
    ("HTTPS://Judge.Example.:443/v1/", "https://judge.example/v1"), ("http://gpu_box:80/v1//", "http://gpu_box/v1"),
    ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"), ("https://[::0001]:8/v1", "https://[::1]:8/v1"),
    ("http://127.1:8000", "http://127.0.0.1:8000"), (" https://host/a%20b/ü ", "https://host/a%20b/%C3%BC")])
def test_an_address_has_one_normal_form(typed: str, normal: str) -> None:
    assert parse_address(typed).url == normal == parse_address(normal).url


def test_a_host_is_listed_in_whichever_alphabet_the_administrator_writes_it() -> None:
    assert AddressGuard(("bücher.lan",)).check_url("http://xn--bcher-kva.lan/v1") == "xn--bcher-kva.lan"
    assert AddressGuard(("[::1]",)).check_url("http://[0::1]:8000/v1") == "::1"


def test_openais_key_is_for_openais_server_however_its_address_is_written() -> None:
    for address in ("", "https://API.openai.com:443/v1/", "https://api.openai.com./v1"):
        assert JudgeSettings(kind="openai", model="m", base_url=address, api_key_env="OPENAI_API_KEY")
    for address in ("https://api.openai.com.evil.example/v1", "https://api.openai.com:8443/v1",
                    "http://api.openai.com/v1", "https://api.openai.com@evil.example/v1", "https://[::1"):
        with pytest.raises(ValueError, match="OPENAI_API_KEY is sent to"):
            JudgeSettings(kind="openai", model="m", base_url=address, api_key_env="OPENAI_API_KEY")
