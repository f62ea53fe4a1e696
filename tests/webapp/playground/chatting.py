"""Speaks with the pane's handlers as a member does, with a worker that answers at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from webapp.accounts.models import Team, User
from webapp.playground import pane, stream
from webapp.playground.gate import CALLER, Caller
from webapp.playground.selectors import DEMO_BASE
from webapp.playground.view import OUTPUTS

Shown = dict[str, Any]
SCORES: Shown = {"kind": "rewards", "totals": [0.1, 0.6],
          "principles": [{"name": "toxicity", "scores": [-1.0, 1.5], "parts": [-0.5, 0.7]}]}


class Worker:
    """Takes the place of `stream.events`: keeps the requests, and answers each with its number."""

    def __init__(self) -> None:
        self.requests: list[stream.Request] = []
        self.texts = ("<b>No", "Yes ${1}")

    async def events(self, request: stream.Request) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(request)
        yield {"kind": "started"}
        for side, text in enumerate(self.texts):
            yield {"kind": "piece", "side": side, "text": text}
            yield {"kind": "answer", "side": side, "text": text, "tokens": 2, "seconds": 0.1, "ended": True}
        yield SCORES
        yield {"kind": "finished", "cancelled": False}


class Member:
    """One member at the pane: what the browser would hold, and what the pane has shown."""

    def __init__(self, user: User, team: Team, **query: str) -> None:
        self.request: Any = SimpleNamespace(
            request=SimpleNamespace(scope={CALLER: Caller(user.pk, user.get_username(), team.pk)}), query_params=query)
        self.left = self.right = DEMO_BASE
        self.blind, self.system = False, ""
        self.page: Shown = {"chat": "", "edits": False, "policies": ("", "")}

    def see(self, values: tuple[Any, ...]) -> Shown:
        """Take over what a handler changes."""
        changes = {name: value for name, value in zip(OUTPUTS, values, strict=True) if value != pane.gr.skip()}
        self.page |= changes
        return changes

    async def open(self) -> Shown:
        shown = self.see(await pane.opened(self.request))
        self.left, self.right = (shown[side].value for side in ("left", "right"))
        return shown

    async def say(self, prompt: str, **settings: Any) -> list[Shown]:
        """Send a prompt; all that the pane showed, one after another."""
        values = {"scorer": "auto", "temperature": 1.0, "top_p": 1.0, "longest": 64, "seed": 7} | settings
        return [self.see(shown) async for shown in pane.chat(
            prompt, self.left, self.right, **values, talk=self.page["chat"], edits=self.page["edits"],
            request=self.request, blind=self.blind, system=self.system)]

    async def again(self) -> list[Shown]:
        return [self.see(shown) async for shown in pane.again(
            self.left, self.right, "auto", 1.0, 1.0, 64, self.page["chat"], self.request)]

    async def choose(self, left: str, right: str) -> Shown:
        self.left, self.right = left, right
        return self.see(await pane.policies_chosen(left, right, self.page["chat"], self.page["policies"],
                                                   self.request, self.blind))

    async def switch(self, blind: bool) -> Shown:
        self.blind = blind
        return self.see(await pane.blind_chosen(self.left, self.right, blind, self.page["chat"], self.request))

    async def reread(self) -> Shown:
        return self.see(await pane.reread(self.page["chat"], self.request))

    async def edit(self) -> Shown:
        return self.see(await pane.edited(self.page["chat"], self.request))

    async def turn_page(self, step: int) -> Shown:
        return self.see(await pane.paged(step, self.page["chat"], self.request))
