"""Binds each session of the Gradio pane to the user who opened it, so that its hash is useless to anybody else.

The browser creates the hash. The first request that uses it binds it, and the ids of the events started in it, to its
caller. Like the pane's own sessions, the bindings are in this process's memory. Each user can have a limited number;
the oldest are dropped first, and never those of another user.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from typing import Any
from urllib.parse import parse_qs

MOST = 500  # hashes and events of one user


class Owners:
    """Names (hashes and event ids) and their owners."""

    def __init__(self, most: int = MOST) -> None:
        self._owner: dict[str, int] = {}
        self._names: defaultdict[int, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._most = most

    def bind(self, name: str, user: int) -> bool:
        """Bind the name to the user if it has no owner yet. Returns whether the user owns it."""
        if self._owner.setdefault(name, user) != user:
            return False
        names = self._names[user]
        names[name] = None
        names.move_to_end(name)
        while len(names) > self._most:
            oldest, _ = names.popitem(last=False)
            del self._owner[oldest]
        return True

    def owns(self, name: str, user: int) -> bool:
        return self._owner.get(name) == user


class Sessions:
    """The checks that the gate makes before it passes a request to Gradio."""

    def __init__(self) -> None:
        self._hashes, self._events = Owners(), Owners()

    def may_pass(self, user: int, path: str, query: str, body: bytes) -> bool:
        """Whether every session and event that this request names belongs to the caller.

        Raises:
            ValueError: the body is not a JSON object.
        """
        hashes = parse_qs(query).get("session_hash", [])
        if path.startswith("/gradio_api/heartbeat/"):
            hashes.append(path.rstrip("/").rpartition("/")[2])
        content = _json_object(body)
        if "session_hash" in content:
            hashes.append(str(content["session_hash"]))
        if not all(self._hashes.bind(name, user) for name in hashes):
            return False
        return "event_id" not in content or content["event_id"] is None \
            or self._events.owns(str(content["event_id"]), user)

    def started(self, user: int, answer: bytes) -> None:
        """Bind the event that a response to `queue/join` names."""
        try:
            event = _json_object(answer).get("event_id")
        except ValueError:  # an answer in words: nothing was started
            return
        if event:
            self._events.bind(str(event), user)


def _json_object(text: bytes) -> dict[str, Any]:
    """The object of a JSON text; empty for no text. Raises ValueError for everything else."""
    try:
        value = json.loads(text) if text else {}
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
