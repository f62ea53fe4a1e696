"""The gate: no path of the pane is open to who is in no team, and only what the pane needs is open at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from starlette.routing import BaseRoute, Mount, Route

from tests.conftest import logged_in, make_user
from webapp.accounts.models import Team

pytestmark = pytest.mark.django_db(transaction=True)
Speak = Callable[..., Any]


def routes(of: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every method and path of an app, parameters filled in."""
    for route in of:
        if isinstance(route, Mount):
            yield from routes(route.routes or [], prefix + route.path)
        elif hasattr(route, "original_router"):  # FastAPI's include_router; its paths hold the prefix already
            yield from routes(route.original_router.routes, prefix)
        elif isinstance(route, Route) or hasattr(route, "methods"):
            path = re.sub(r"{[^}]+}", "x", prefix + route.path)
            yield from ((method, path) for method in route.methods or {"GET"})


def all_routes() -> list[tuple[str, str]]:
    from webapp.playground.pane import lifespan_app

    found = [(method, path.removeprefix("/playground/pane")) for method, path in routes(lifespan_app.routes)]
    assert len(found) > 60, "gradio's routes were not found"
    return found


async def test_no_path_is_open_to_who_is_not_logged_in(speak: Speak) -> None:
    for method, path in all_routes():
        answer = await speak(None, method, path)
        expected = {302} if path in {"", "/"} else {401}
        assert answer.status_code in expected, (method, path, answer.status_code)


async def test_the_page_sends_who_is_not_logged_in_to_the_login(speak: Speak) -> None:
    answer = await speak(None, "GET", "/")
    assert answer.headers["location"] == "/login/?next=%2Fplayground%2F"


async def test_no_path_is_open_to_who_belongs_to_no_team(speak: Speak, db: None) -> None:
    from asgiref.sync import sync_to_async

    loner = await sync_to_async(lambda: logged_in(make_user("loner")))()
    for method, path in all_routes():
        assert (await speak(loner, method, path)).status_code == 403, (method, path)


async def test_a_made_up_session_opens_nothing(speak: Speak, db: None) -> None:
    forged = Client()
    forged.cookies["sessionid"] = "x" * 32
    assert (await speak(forged, "GET", "/config")).status_code == 401
    forged.cookies["sessionid"] = "\x7f;=,"
    assert (await speak(forged, "GET", "/config")).status_code == 401


async def test_a_member_gets_the_page_with_its_own_policy(speak: Speak, teammate_client: Client) -> None:
    page = await speak(teammate_client, "GET", "/", headers={"accept-encoding": "br, gzip"})
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in script
    assert script.count("'sha256-") == len(re.findall(r"<script(?![^>]*src=)[^>]*>", page.text))
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert (await speak(teammate_client, "GET", "/config")).status_code == 200


async def test_the_page_holds_nothing_of_a_team(
    speak: Speak, teammate_client: Client, team: Team, finish_run: Callable[..., Any]
) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(finish_run)(team, "our secret run")
    assert "secret" not in (await speak(teammate_client, "GET", "/")).text
    assert "secret" not in (await speak(teammate_client, "GET", "/config")).text


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/file=/etc/passwd"), ("GET", "/gradio_api/proxy=http://x.org"),
    ("GET", "/monitoring"), ("GET", "/gradio_api/token"), ("POST", "/gradio_api/run/predict"), ("GET", "/login"),
    ("POST", "/gradio_api/vibe-edit"), ("GET", "/gradio_api/deep_link"), ("GET", "/gradio_api/call/chat/x"),
])
async def test_what_the_pane_does_not_need_is_shut(
    speak: Speak, teammate_client: Client, method: str, path: str
) -> None:
    assert (await speak(teammate_client, method, path, headers={"content-length": "0"})).status_code == 404


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"}, {"origin": "http://testserver.evil.example"},
])
async def test_another_site_cannot_use_the_members_cookie(
    speak: Speak, teammate_client: Client, headers: dict[str, str]
) -> None:
    assert (await speak(teammate_client, "POST", "/gradio_api/queue/join", json={}, headers=headers)).status_code == 403


async def test_the_own_pages_may(speak: Speak, teammate_client: Client) -> None:
    headers = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    answer = await speak(teammate_client, "POST", "/gradio_api/queue/join", json={}, headers=headers)
    assert answer.status_code == 422, "gradio itself says that the request is empty"
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_a_request_of_endless_or_great_length_is_refused(speak: Speak, teammate_client: Client) -> None:
    async def endless() -> Any:
        yield b"x"

    send = ("POST", "/gradio_api/queue/join")
    assert (await speak(teammate_client, *send, content=endless())).status_code == 411
    assert (await speak(teammate_client, *send, content=b"x" * 300_000)).status_code == 413


async def test_a_host_that_is_not_served_gets_nothing(speak: Speak, teammate_client: Client) -> None:
    assert (await speak(teammate_client, "GET", "/", headers={"host": "evil.example"})).status_code == 400
