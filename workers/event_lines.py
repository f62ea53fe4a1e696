"""The events of a stage's report stream, read from its lines: what is no event is left out and said in the log.

A stage writes its own stream, so a line that cannot be read means a disk that lost something, or a program that was
changed half-way. None of it may stop the recording of what comes after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]

LARGEST_STEP = 2**31 - 1  # what the database holds
_LARGEST_INDEX = 2**15 - 1
_LARGEST_SEQ = 2**62
_LAST_TIME = 253_402_300_000.0  # the year 9999
_SHOWN = 80  # characters of a line that is left out


def read_events(lines: Iterable[bytes], last_seq: int) -> list[Event]:
    """The events of these lines that come after `last_seq`, with a warning in the place of lines that are none."""
    events: list[Event] = []
    seq, time = last_seq, 0.0
    for line in lines:
        if not line.strip():
            continue
        event, reason = event_of(line)
        if event is None:
            if events and "lost_lines" in events[-1]:
                events[-1]["lost_lines"] += 1
            else:
                seq += 1  # the place that the line had: every line has the number after that of the one before
                events.append({"seq": seq, "time": time, "kind": "log", "level": "warning", "lost_lines": 1,
                               "message": f"{reason}: {line[:_SHOWN].decode(errors='replace')}"})
        elif event["seq"] > last_seq:
            seq, time = max(seq, event["seq"]), event["time"]
            events.append(event)
    for event in events:
        if "lost_lines" in event:
            event["message"] = (f"{event['lost_lines']:,} line{'s' * (event['lost_lines'] > 1)} of the stage's report "
                                f"could not be read and were left out. The first one {event['message']}")
    return events


def event_of(line: bytes) -> tuple[Event | None, str]:
    """The event of a line, or None and why it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None, "is no JSON"
    if not isinstance(event, dict):
        return None, "is no object"
    fields = _COMMON | _FIELDS.get(str(event.get("kind")), {})
    for name, fits in fields.items():
        if name not in event and name not in _OPTIONAL:
            return None, f"has no {name}"
        if name in event and not fits(event[name]):
            return None, f"has a {name} that is none"
    return event, ""


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_step(value: object) -> bool:
    return _is_whole(value, 0, LARGEST_STEP)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    """NaN and infinities are numbers here: a loss may become one, and people should see it."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)
                                        and abs(value) < 2**1000)


def _are_numbers(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


def _is_share(value: object) -> bool:
    """A probability or a difference of two, or nothing."""
    return value is None or (_is_number(value) and 0 <= value <= 1)  # type: ignore[operator]


_Check: TypeAlias = Callable[[object], bool]
_OPTIONAL = {"level", "message", "path", "model"}
_COMMON: dict[str, _Check] = {
    "seq": lambda value: _is_whole(value, 1, _LARGEST_SEQ),
    "time": lambda value: _is_number(value) and 0 <= value < _LAST_TIME,  # type: ignore[operator]
    "kind": _is_text,
}
_FIELDS: dict[str, dict[str, _Check]] = {
    "metric": {"step": _is_step, "values": _are_numbers},
    "progress": {"done": _is_step, "total": _is_step, "unit": _is_text},
    "sample": {"step": _is_step, "index": lambda value: _is_whole(value, 0, _LARGEST_INDEX), "prompt": _is_text,
               "response": _is_text, "reward": _is_number, "rewards": _are_numbers},
    "label": {"pair": _is_text, "probability": _is_share, "p_shown": _is_share, "p_swapped": _is_share,
              "judge": _is_text, "prompt_version": _is_text, "error": _is_text, "tokens": _is_step, "model": _is_text},
    "log": {"level": _is_text, "message": _is_text},
    "artifact": {"path": _is_text},
    "warning": {"code": _is_text, "message": _is_text, "step": _is_step},
    "rewind": {"step": _is_step},
}
