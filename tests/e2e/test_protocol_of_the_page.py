"""The page's end of the live socket: it knows its own protocol, and never misreads another one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from webapp.runs.live.messages import HELLO, PROTOCOL, Hello, Line, NewSample, Points, encode

pytestmark = [pytest.mark.e2e, pytest.mark.once]

HEARD = """async (texts) => {
  const made = [];
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    readyState = 1;
    constructor() { super(); made.push(this); }
    send() {}
    close() { this.readyState = 3; }
  };
  const { Live } = await import("/static/js/run-socket.js");
  const messages = [], states = [];
  new Live(7, { cursor: () => ({}), onMessage: (message) => messages.push(message),
    onState: (state) => states.push(state) });
  const [socket] = made;
  socket.dispatchEvent(new Event("open"));
  for (const data of texts) socket.dispatchEvent(new MessageEvent("message", { data }));
  window.dispatchEvent(new Event("online"));
  return { messages, states, sockets: made.length, closed: socket.readyState === 3 };
}"""


def outcome_of(page: Page, *texts: str) -> dict[str, Any]:
    """What the page makes of messages; at the end the network comes back."""
    page.goto("/runs/")
    outcome: dict[str, Any] = page.evaluate(HEARD, list(texts))
    return outcome


def test_a_server_of_another_protocol_ends_the_listening_and_nothing_of_it_is_read(page: Page) -> None:
    other: Hello = {"type": "hello", "protocol": PROTOCOL + 1}
    outcome = outcome_of(page, encode(other), encode({"type": "resync"}))
    assert outcome["states"] == ["live", "outdated"] and outcome["messages"] == []
    assert outcome["closed"] and outcome["sockets"] == 1, "it is not asked again"


def test_a_delta_comes_with_names_in_the_place_of_positions(page: Page) -> None:
    points, line = Points(1, "kl/mean", None, [3], [0.5], [9.0]), Line(1, 4, 9.0, "info", "m", "", None)
    sample = NewSample(1, 3, 8)
    outcome = outcome_of(page, encode(HELLO), encode(
        {"type": "delta", "points": [points], "log": [line], "samples": [sample]}), encode({"type": "resync"}))
    delta, resync = outcome["messages"]
    assert delta == {"type": "delta", "points": [points._asdict()], "log": [line._asdict()],
                     "samples": [sample._asdict()]}
    assert resync == {"type": "resync"}


def test_a_server_from_before_protocols_and_a_message_of_a_kind_unknown_are_borne(page: Page) -> None:
    outcome = outcome_of(page, json.dumps({"type": "picture"}), encode({"type": "delta"}))
    assert [message["type"] for message in outcome["messages"]] == ["delta"]
    assert "outdated" not in outcome["states"]
