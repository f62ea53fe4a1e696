"""Finished runs to talk to, and a way to speak with the pane as a browser does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.test import Client

from tests.webapp.playground.chatting import Worker
from webapp.accounts.models import Team
from webapp.runs.models import Run, RunStage, Stage

FinishRun = Callable[..., Run]


@pytest.fixture
def finish_run() -> FinishRun:
    """A run whose ppo stage is done, with the given name and base."""

    def make(team: Team, name: str = "gentle", base: str = "demo-world", sft: bool = False, done: bool = True) -> Run:
        run = Run.objects.create(team=team, name=name, recipe={"policy": {"base": base}, "sft": {"enabled": sft}})
        for position, kind in enumerate(["sft", "ppo"] if sft else ["ppo"]):
            stage = Stage.objects.create(team=team, identity=f"{kind}{run.pk}".ljust(64, "0"), name=kind, kind=kind,
                                         status="succeeded" if done else "running", settings={"device": "cpu"})
            RunStage.objects.create(run=run, stage=stage, name=kind, position=position)
        return run

    return make


@pytest.fixture
def speak() -> Callable[..., Any]:
    """A request to the pane's app, with the cookies of a Django test client."""
    from webapp.playground.pane import application

    async def send(client: Client | None, method: str, path: str, **options: Any) -> httpx.Response:
        cookies = {name: morsel.value for name, morsel in client.cookies.items()} if client else {}
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", cookies=cookies) as http:
            return await http.request(method, f"/playground/pane{path}", **options)

    return send


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """The inference worker, which answers at once."""
    from webapp.playground import stream

    answering = Worker()
    monkeypatch.setattr(stream, "events", answering.events)
    return answering
