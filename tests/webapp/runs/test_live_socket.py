"""The live socket: who may listen, and that a number written is a number heard, also after a bad night."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tests.conftest import logged_in
from tests.webapp.runs.seeds import add_points, make_run
from webapp.accounts.models import Team, User
from webapp.runs.live import consumers
from webapp.runs.live import hub as hubs
from webapp.runs.live.audience import Watcher, still_allowed
from webapp.runs.live.changes import Position
from webapp.runs.live.hub import RESYNC, Viewer
from webapp.runs.live.messages import PROTOCOL
from webapp.runs.live.notifications import notify_run_changed
from webapp.runs.live.routing import websocket_urlpatterns
from webapp.runs.models import Run, Stage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(team: Team, owner: User) -> tuple[Run, Stage]:
    made, stages = make_run(team, owner)
    return made, stages["ppo"]


class Browser:
    """What a browser does with the socket, with the session cookie of a log-in of its own."""

    def __init__(self, run: Run, client: Client) -> None:
        path, cookie = f"/ws/runs/{run.pk}/", client.cookies.get(settings.SESSION_COOKIE_NAME)
        self.client = client
        self.pipe = ApplicationCommunicator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), {
            "type": "websocket", "path": path,
            "headers": [(b"cookie", f"{cookie.key}={cookie.value}".encode())] if cookie else []})

    async def connect(self) -> dict[str, Any]:
        await self.pipe.send_input({"type": "websocket.connect"})
        answer = await self.pipe.receive_output(5)
        if answer["type"] == "websocket.accept":
            assert await self.hear() == {"type": "hello", "protocol": PROTOCOL}
        return answer  # type: ignore[no-any-return]

    async def say(self, body: Any) -> None:
        await self.pipe.send_input({"type": "websocket.receive", "text": json.dumps(body)})

    async def hear(self) -> dict[str, Any]:
        output = await self.pipe.receive_output(5)
        assert output["type"] == "websocket.send", output
        return json.loads(output["text"])  # type: ignore[no-any-return]

    async def hear_points(self) -> dict[str, list[int]]:
        while "points" not in (message := await self.hear()):
            assert message["type"] == "delta"
        return {tag: steps for _, tag, _, steps, _, _ in message["points"]}

    async def leave(self) -> None:
        await self.pipe.send_input({"type": "websocket.disconnect", "code": 1000})
        await self.pipe.wait(5)


async def listening(run: Run, user: User, since: Any = None) -> Browser:
    browser = Browser(run, await sync_to_async(logged_in)(user))
    assert (await browser.connect())["type"] == "websocket.accept"
    await browser.say({"since": since or {}})
    assert (await browser.hear())["type"] == "delta"
    return browser


async def test_a_stranger_and_nobody_are_refused(
    run: tuple[Run, Stage], stranger: User, other_team: Team,
) -> None:
    for client in (await sync_to_async(logged_in)(stranger), Client()):
        answer = await Browser(run[0], client).connect()
        assert (answer["type"], answer["code"]) == ("websocket.close", 4404)


async def test_a_member_hears_a_point_after_a_notification(run: tuple[Run, Stage], teammate: User) -> None:
    made, ppo = run
    browser = await listening(made, teammate)
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    await sync_to_async(notify_run_changed)(runs=[made.pk], team=made.team_id)
    assert await browser.hear_points() == {"kl/mean": [1]}
    await browser.leave()


async def test_a_lost_notification_costs_a_second_and_no_number(run: tuple[Run, Stage], owner: User) -> None:
    made, ppo = run
    browser = await listening(made, owner)
    await sync_to_async(add_points)(ppo, "kl/mean", [1, 2], [0.5, 0.6])
    assert await browser.hear_points() == {"kl/mean": [1, 2]}
    await browser.leave()


async def test_what_came_while_the_laptop_was_closed_comes_first(run: tuple[Run, Stage], owner: User) -> None:
    made, ppo = run
    await sync_to_async(add_points)(ppo, "kl/mean", [1, 2, 3], [1.0, 2.0, 3.0])
    browser = Browser(made, await sync_to_async(logged_in)(owner))
    await browser.connect()
    await browser.say({"since": {ppo.pk: [0, 0, {"kl/mean": 1}, -1]}})
    assert await browser.hear_points() == {"kl/mean": [2, 3]}
    await browser.leave()


async def test_a_rewind_tells_every_viewer_to_start_over(run: tuple[Run, Stage], owner: User, teammate: User) -> None:
    made, ppo = run
    browsers = [await listening(made, user) for user in (owner, teammate)]
    await Stage.objects.filter(pk=ppo.pk).aupdate(rewinds=1)
    for browser in browsers:
        while (message := await browser.hear())["type"] != "resync":
            assert message["type"] == "delta"
    for browser in browsers:
        await browser.leave()


async def test_a_viewer_with_a_void_cursor_starts_over(run: tuple[Run, Stage], owner: User) -> None:
    made, ppo = run
    browser = Browser(made, await sync_to_async(logged_in)(owner))
    await browser.connect()
    await browser.say({"since": {ppo.pk: [7, 0, {}, -1]}})
    assert await browser.hear() == {"type": "resync"}
    await browser.leave()


async def test_ten_viewers_are_one_read(
    run: tuple[Run, Stage], owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ppo = run
    reads = 0
    real = hubs.read_changes

    def counted(*args: Any) -> Any:
        nonlocal reads
        message = real(*args)
        reads += bool(message and "points" in message)
        return message

    monkeypatch.setattr(hubs, "read_changes", counted)  # before anyone looks: no look may be under way with the old one
    browsers = [await listening(made, owner) for _ in range(10)]
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    assert [await browser.hear_points() for browser in browsers] == [{"kl/mean": [1]}] * 10
    assert reads == 1
    for browser in browsers:
        await browser.leave()


async def test_who_joins_while_the_others_are_checked_is_not_turned_away(
    run: tuple[Run, Stage], owner: User, teammate: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ppo = run
    checked, joined = threading.Event(), threading.Event()
    real = hubs.still_allowed

    def checks_until_somebody_joined(run_id: int, watchers: set[Watcher]) -> set[Watcher]:
        allowed = real(run_id, watchers)
        checked.set()
        assert joined.wait(10)
        return allowed

    first = await listening(made, owner)
    monkeypatch.setattr(hubs, "still_allowed", checks_until_somebody_joined)
    assert await asyncio.to_thread(checked.wait, 10)
    second = Browser(made, await sync_to_async(logged_in)(teammate))
    await second.connect()
    await second.say({"since": {}})
    while len(hubs.hub()._watches[made.pk]._viewers) < 2:
        await asyncio.sleep(0)
    joined.set()
    assert (await second.hear())["type"] == "delta"
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    assert [await browser.hear_points() for browser in (first, second)] == [{"kl/mean": [1]}] * 2
    for browser in (first, second):
        await browser.leave()


@pytest.mark.parametrize("text", [
    '{"hello": 1}', "", "no JSON", "[]", "null", '{"since": 7}', "[" * 50_000, '{"since":' * 20_000,
    '{"since": {"1": [1e999, 0, {}, 0]}}', '{"since": {"1": [0, NaN, {}, 0]}}',
    '{"since": {"1": [0, 0, {"kl": 1e999}, 0]}}',
    '{"since": {"1": [0, 0, {}, ' + "9" * 5000 + ']}}', '{"since": {"' + "9" * 30 + '": [0, 0, {}, 0]}}',
    '{"since": {"1": [0, 0, {}, 9e30]}}', '{"since": "' + "x" * 300_000 + '"}',
])
async def test_a_message_that_makes_no_sense_closes_the_socket(run: tuple[Run, Stage], owner: User, text: str) -> None:
    browser = Browser(run[0], await sync_to_async(logged_in)(owner))
    await browser.connect()
    await browser.pipe.send_input({"type": "websocket.receive", "text": text})
    assert (await browser.pipe.receive_output(5))["code"] == 4400


def log_out(browser: Browser, user: User, team: Team) -> None:
    browser.client.post("/logout/")


def leave_the_team(browser: Browser, user: User, team: Team) -> None:
    team.members.remove(user)


def change_the_password(browser: Browser, user: User, team: Team) -> None:
    user.set_password("another one")
    user.save()


def be_shut_out(browser: Browser, user: User, team: Team) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def outlive_the_session(browser: Browser, user: User, team: Team) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("end", [log_out, leave_the_team, change_the_password, be_shut_out, outlive_the_session])
async def test_who_may_not_see_the_run_any_more_hears_nothing_more_and_is_closed(
    run: tuple[Run, Stage], teammate: User, team: Team, end: Callable[..., None],
) -> None:
    made, ppo = run
    browser = await listening(made, teammate)
    await sync_to_async(end)(browser, teammate, team)
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    await sync_to_async(notify_run_changed)(runs=[made.pk], team=made.team_id)
    texts = []
    while (output := await browser.pipe.receive_output(5))["type"] == "websocket.send":
        texts.append(output["text"])
    assert output["code"] == 4404
    assert not any("points" in text for text in texts)


async def test_who_is_closed_takes_nobody_along(
    run: tuple[Run, Stage], owner: User, teammate: User, team: Team,
) -> None:
    made, ppo = run
    stays, goes = await listening(made, owner), await listening(made, teammate)
    await sync_to_async(log_out)(goes, teammate, team)
    while (await goes.pipe.receive_output(5))["type"] == "websocket.send":
        pass
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    assert await stays.hear_points() == {"kl/mean": [1]}
    await stays.leave()


def test_many_watchers_are_two_queries(run: tuple[Run, Stage], owner: User, django_assert_num_queries: Any) -> None:
    watchers = {Watcher(owner.pk, logged_in(owner).session.session_key) for _ in range(10)}
    with django_assert_num_queries(2):
        assert still_allowed(run[0].pk, watchers) == watchers


def test_another_persons_session_does_not_count(run: tuple[Run, Stage], owner: User, stranger: User) -> None:
    theirs = logged_in(stranger).session.session_key
    assert not still_allowed(run[0].pk, [Watcher(owner.pk, theirs), Watcher(stranger.pk, theirs), Watcher(0, "")])


async def test_the_database_may_be_away_for_a_while(
    run: tuple[Run, Stage], owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ppo = run
    browser = await listening(made, owner)
    real, failures = hubs.read_changes, 0

    def failing(*args: Any) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise OSError("no database")
        return real(*args)

    monkeypatch.setattr(hubs, "read_changes", failing)
    async with asyncio.timeout(10):
        while not failures:  # a look with the old one may be under way
            await asyncio.sleep(0.01)
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    assert await browser.hear_points() == {"kl/mean": [1]}
    assert failures > 1
    await browser.leave()


async def test_a_viewer_that_does_not_read_is_told_to_start_over() -> None:
    viewer = Viewer(Watcher(1, "session"), size=3)
    for number in range(4):
        viewer.put(str(number))
    assert await viewer.next() == RESYNC
    viewer.put("after")
    assert await viewer.next() == "after"


async def test_news_wait_until_the_past_has_been_told() -> None:
    viewer = Viewer(Watcher(1, "session"))
    viewer.hold()
    viewer.put("news")
    viewer.release("past")
    assert [await viewer.next(), await viewer.next()] == ["past", "news"]


async def test_a_socket_that_says_nothing_is_closed(
    run: tuple[Run, Stage], owner: User, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers, "PATIENCE", 0.05)
    browser = Browser(run[0], await sync_to_async(logged_in)(owner))
    assert (await browser.connect())["type"] == "websocket.accept"
    assert await browser.pipe.receive_output(5) == {"type": "websocket.close", "code": 4408}
    await browser.leave()


@pytest.mark.parametrize("path", ["/ws/runs/%s/", "/ws/runs/-1/", "/ws/runs/1", "/ws/", "/runs/", "/ws/runs/1\x00/",
                                  "/", "/ws/runs/" + "9" * 18 + "/", "/ws/runs/" + "9" * 5000 + "/"])
@pytest.mark.parametrize("cookie", ['sessionid="a\\000b"', "sessionid=\xff", "sessionid=", "=;;", ""])
async def test_an_address_or_a_cookie_that_is_none_is_closed_in_silence(path: str, cookie: str, team: Team) -> None:
    from webapp.asgi import application

    pipe = ApplicationCommunicator(application, {
        "type": "websocket", "path": path, "query_string": b"", "headers": [
            (b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", cookie.encode("latin-1"))]})
    await pipe.send_input({"type": "websocket.connect"})
    assert (await pipe.receive_output(5))["code"] == 4404
    await pipe.send_input({"type": "websocket.disconnect", "code": 4404})
    await pipe.wait(5)


async def test_what_comes_while_a_viewers_past_is_read_is_told_after_it(
    run: tuple[Run, Stage], monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, ppo = run
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    viewer, loop, real = Viewer(Watcher(1, "session")), asyncio.get_running_loop(), hubs.read_changes

    def read_while_news_come(*args: Any) -> Any:
        loop.call_soon_threadsafe(viewer.put, "news")
        return real(*args)

    monkeypatch.setattr(hubs, "read_changes", read_while_news_come)
    await hubs.hub().watch(made.pk, viewer, Position())
    hubs.hub().leave(made.pk, viewer)

    assert json.loads(await viewer.next())["points"][0][3] == [1]
    assert await viewer.next() == "news"
