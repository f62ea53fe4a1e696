"""The live socket: who may listen, and that a number written is a number heard, also after a bad night."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser

from tests.webapp.runs.seeds import add_points, make_run
from webapp.accounts.models import Team, User
from webapp.runs import hub as hubs
from webapp.runs.hub import RESYNC, Viewer
from webapp.runs.models import Run, Stage
from webapp.runs.pokes import poke
from webapp.runs.routing import websocket_urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(team: Team, owner: User) -> tuple[Run, Stage]:
    made, stages = make_run(team, owner)
    return made, stages["ppo"]


class Browser:
    """What a browser does with the socket."""

    def __init__(self, run: Run, user: User | AnonymousUser) -> None:
        path = f"/ws/runs/{run.pk}/"
        self.pipe = ApplicationCommunicator(URLRouter(websocket_urlpatterns), {
            "type": "websocket", "path": path, "user": user, "headers": []})

    async def connect(self) -> dict[str, Any]:
        await self.pipe.send_input({"type": "websocket.connect"})
        return await self.pipe.receive_output(5)  # type: ignore[no-any-return]

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
    browser = Browser(run, user)
    assert (await browser.connect())["type"] == "websocket.accept"
    await browser.say({"since": since or {}})
    assert (await browser.hear())["type"] == "delta"
    return browser


async def test_a_stranger_and_nobody_are_refused(
    run: tuple[Run, Stage], stranger: User, other_team: Team,
) -> None:
    for user in (stranger, AnonymousUser()):
        answer = await Browser(run[0], user).connect()
        assert (answer["type"], answer["code"]) == ("websocket.close", 4404)


async def test_a_member_hears_a_point_that_was_poked(run: tuple[Run, Stage], teammate: User) -> None:
    made, ppo = run
    browser = await listening(made, teammate)
    await sync_to_async(add_points)(ppo, "kl/mean", [1], [0.5])
    await sync_to_async(poke)(runs=[made.pk], team=made.team_id)
    assert await browser.hear_points() == {"kl/mean": [1]}
    await browser.leave()


async def test_a_lost_poke_costs_a_second_and_no_number(run: tuple[Run, Stage], owner: User) -> None:
    made, ppo = run
    browser = await listening(made, owner)
    await sync_to_async(add_points)(ppo, "kl/mean", [1, 2], [0.5, 0.6])
    assert await browser.hear_points() == {"kl/mean": [1, 2]}
    await browser.leave()


async def test_what_came_while_the_laptop_was_closed_comes_first(run: tuple[Run, Stage], owner: User) -> None:
    made, ppo = run
    await sync_to_async(add_points)(ppo, "kl/mean", [1, 2, 3], [1.0, 2.0, 3.0])
    browser = Browser(made, owner)
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
    browser = Browser(made, owner)
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


async def test_a_message_that_makes_no_sense_closes_the_socket(run: tuple[Run, Stage], owner: User) -> None:
    browser = Browser(run[0], owner)
    await browser.connect()
    await browser.say({"hello": 1})
    assert (await browser.pipe.receive_output(5))["code"] == 4400


async def test_who_leaves_the_team_hears_nothing_more(run: tuple[Run, Stage], teammate: User, team: Team) -> None:
    browser = await listening(run[0], teammate)
    await sync_to_async(team.members.remove)(teammate)
    await browser.say({"since": {}})
    while (output := await browser.pipe.receive_output(5))["type"] == "websocket.send":
        pass
    assert output["code"] == 4404


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
    viewer = Viewer(size=3)
    for number in range(4):
        viewer.put(str(number))
    assert await viewer.next() == RESYNC
    viewer.put("after")
    assert await viewer.next() == "after"


async def test_news_wait_until_the_past_has_been_told() -> None:
    viewer = Viewer()
    viewer.hold()
    viewer.put("news")
    viewer.release("past")
    assert [await viewer.next(), await viewer.next()] == ["past", "news"]
