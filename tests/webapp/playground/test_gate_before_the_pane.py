"""The gate: no path of the pane is open to who is in no team, and only what the pane needs is open at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import DatabaseError, connection
from django.test import Client
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route

from tests.conftest import logged_in, make_user
from webapp.accounts.models import Team, User
from webapp.playground import gate
from webapp.playground.sessions import Owners

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

    routes_of_pane = [(method, path.removeprefix("/playground/pane")) for method, path in routes(lifespan_app.routes)]
    assert len(routes_of_pane) > 60, "gradio's routes were not found"
    return routes_of_pane


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


# Whose a session is ---------------------------------------------------------------------------------------------------


JOIN = "/gradio_api/queue/join"


async def join(speak: Speak, client: Client, session: str) -> Any:
    """Start the event that the page starts when it opens."""
    from webapp.playground.pane import lifespan_app

    blocks = next(route.app.get_blocks() for route in lifespan_app.routes if isinstance(route, Mount))
    load = next(index for index, fn in blocks.fns.items() if any(kind == "load" for _, kind in fn.targets))
    body = {"session_hash": session, "fn_index": load, "data": [], "event_data": None}
    return await speak(client, "POST", JOIN, json=body)


async def test_a_session_is_its_openers_alone(
    speak: Speak, teammate_client: Client, owner_client: Client, stranger_client: Client,
) -> None:
    opened = await join(speak, teammate_client, "hash1of2them")
    assert opened.status_code == 200
    event = opened.json()["event_id"]
    for other in (stranger_client, owner_client):  # a member of the same team is somebody else too
        assert (await join(speak, other, "hash1of2them")).status_code == 403
        cancel = {"session_hash": "hash1of2them", "fn_index": 0, "event_id": event}
        for method, path, options in [
            ("GET", "/gradio_api/queue/data?session_hash=hash1of2them", {}),
            ("GET", "/gradio_api/queue/data?session_hash=mine&session_hash=hash1of2them", {}),
            ("GET", "/gradio_api/heartbeat/hash1of2them", {}),
            ("POST", "/gradio_api/cancel", {"json": cancel}),
            ("POST", "/gradio_api/cancel", {"json": cancel | {"session_hash": "another9one"}}),
            ("POST", "/gradio_api/reset", {"json": {"event_id": event}}),
        ]:
            assert (await speak(other, method, path, **options)).status_code == 403, path
    own = await speak(teammate_client, "POST", "/gradio_api/cancel",
                      json={"session_hash": "hash1of2them", "fn_index": 0, "event_id": event})
    assert own.status_code == 200


async def test_an_event_that_was_never_started_cannot_be_cancelled(speak: Speak, teammate_client: Client) -> None:
    for body in ({"session_hash": "own1hash", "fn_index": 0, "event_id": "made-up"},
                 {"session_hash": "own1hash", "fn_index": 0, "event_id": ["made-up"]}):
        assert (await speak(teammate_client, "POST", "/gradio_api/cancel", json=body)).status_code == 403


@pytest.mark.parametrize("body", [
    b"[" * 100_000, b"{", b"[1]", b"null", b'"text"', b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}",
])
async def test_a_body_that_nobody_understands_goes_no_further(
    speak: Speak, teammate_client: Client, body: bytes,
) -> None:
    for path in (JOIN, "/gradio_api/cancel", "/gradio_api/reset"):
        answer = await speak(teammate_client, "POST", path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, (path, answer.text)


async def test_no_browser_keeps_what_the_pane_answers_except_its_assets(speak: Speak, teammate_client: Client) -> None:
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/app_id", "/gradio_api/nothing"):
        assert (await speak(teammate_client, "GET", path)).headers.get_list("cache-control") == ["no-store"], path
    page = (await speak(teammate_client, "GET", "/")).text
    asset = re.findall(r'"(?:\./|/playground/pane/)(assets/[^"]+\.js)"', page)[0]
    answer = await speak(teammate_client, "GET", f"/{asset}")
    assert answer.status_code == 200 and "no-store" not in answer.headers.get("cache-control", "")


@pytest.mark.parametrize("end", ["log out", "leave the team", "other password", "not active"])
async def test_a_stream_ends_when_its_reader_may_not_read_on(
    teammate_client: Client, teammate: User, team: Team, end: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "LOOK", 0.0)
    bodies: list[bytes] = []
    ended_for_gradio = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        listening = asyncio.ensure_future(receive())
        while not listening.done():
            await send({"type": "http.response.body", "body": b"secret", "more_body": True})
            await asyncio.sleep(0)
            if bodies == [b"secret"] * 3:
                await database_sync_to_async(close_the_door)()
        assert listening.result() == {"type": "http.disconnect"}
        ended_for_gradio.set()

    def close_the_door() -> None:
        if end == "log out":
            teammate_client.logout()
        elif end == "leave the team":
            team.memberships.filter(user=teammate).delete()
        else:
            teammate.set_password("another one")
            teammate.is_active = end != "not active"
            teammate.save()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            bodies.append(message["body"])

    async def receive() -> Any:
        await asyncio.Event().wait()

    cookie = f"sessionid={teammate_client.cookies['sessionid'].value}".encode()
    scope = {"type": "http", "method": "GET", "path": "/playground/pane/gradio_api/queue/data", "query_string": b"",
             "headers": [(b"host", b"testserver"), (b"cookie", cookie)]}
    async with asyncio.timeout(20):
        await gate.Gate(endless)(scope, receive, send)
    assert ended_for_gradio.is_set() and bodies == [b"secret"] * 3


async def test_a_browser_that_goes_away_is_noticed_by_who_only_looks(teammate_client: Client) -> None:
    looks: list[bool] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        for _ in range(3):
            looks.append(await request.is_disconnected())
            await asyncio.sleep(0)
        left.set()
        while not await request.is_disconnected():
            await asyncio.sleep(0)

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    left = asyncio.Event()
    cookie = f"sessionid={teammate_client.cookies['sessionid'].value}".encode()
    scope = {"type": "http", "method": "GET", "path": "/playground/pane/gradio_api/queue/data", "query_string": b"",
             "headers": [(b"host", b"testserver"), (b"cookie", cookie)]}
    async with asyncio.timeout(20):
        await gate.Gate(look)(scope, receive, send)
    assert looks == [False] * 3


def test_nobody_pushes_out_another_persons_names() -> None:
    owners = Owners(most=3)
    assert owners.bind("alices", 1)
    assert all(owners.bind(f"bobs{number}", 2) for number in range(10))
    assert not owners.bind("alices", 2) and owners.bind("alices", 1)
    assert owners.owns("bobs9", 2) and not owners.owns("bobs0", 2)
    assert owners.bind("bobs0", 1), "what its owner has pushed out is nobody's"


@pytest.mark.parametrize("cookie", ['prefs={"a": 1}; sessionid={}', "odd; sessionid={}", "a b=c; sessionid={}; x=[1]"])
async def test_an_odd_cookie_beside_it_does_not_hide_the_session(
    speak: Speak, teammate_client: Client, cookie: str,
) -> None:
    session = teammate_client.cookies["sessionid"].value
    headers = {"cookie": cookie.replace("{}", session)}
    assert (await speak(None, "GET", "/config", headers=headers)).status_code == 200


async def test_a_lost_connection_to_the_database_costs_one_request_and_not_all(
    speak: Speak, teammate_client: Client,
) -> None:
    """What a restart of PostgreSQL does to the connection that the gate's thread keeps."""
    @database_sync_to_async
    def lose() -> None:
        connection.ensure_connection()
        connection.connection.close()

    assert (await speak(teammate_client, "GET", "/config")).status_code == 200
    await lose()
    answers = []
    for _ in range(3):
        try:
            answers.append((await speak(teammate_client, "GET", "/config")).status_code)
        except DatabaseError:
            answers.append(500)
    assert answers[-2:] == [200, 200]
