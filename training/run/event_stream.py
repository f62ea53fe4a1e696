"""Reads the report stream of a stage: the one place where lines become events, whoever asks.

A stage writes its own stream, so a line that cannot be read means a disk that lost something, or a program that was
changed half-way. None of it may stop the reading of what comes after. A kind or a field that this version does not know
is passed over; so is a last line that has no end yet. A line of an older version is read as what it meant.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson

from training.run.events import EVENT_VERSION, FIELDS, HEAD_FIELDS, LARGEST_SEQ, TYPES, Event, Kind, LogEvent

MOST_BYTES = 1_000_000  # read from a stream at a time: bounds a batch and its transaction
LONGEST_LINE = 16_000_000  # bytes; a longer one is no event of ours and is left out
_SHOWN = 80  # characters of a line that is left out


class NoEvent(ValueError):
    """A line that holds no event; its text says why, as what follows "the line"."""


class Batch(NamedTuple):
    """Events, where their lines end in the file, and the number of the last line."""

    events: list[Event]
    offset: int
    seq: int


class EventReader:
    """Reads a stream that is still being written, a batch after the other; who calls keeps how far it has read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._torn_at = -1  # size of the file when its last line was seen to have no end yet

    def after(self, offset: int, seq: int) -> Batch:
        """The next batch of whole lines after an offset, which lines up to number `seq` precede. Where lines could not
        be read, a warning stands in their place. A file that is not there has no events yet."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == self._torn_at:
                    return Batch([], offset, seq)
                file.seek(offset)
                data = file.read(MOST_BYTES)
                if len(data) == MOST_BYTES and b"\n" not in data:
                    data += file.readline(LONGEST_LINE - len(data))
                skipped = 0
                if len(data) == LONGEST_LINE and b"\n" not in data:
                    while (part := file.readline(MOST_BYTES)) and not part.endswith(b"\n"):
                        skipped += len(part)
                    skipped, data = (skipped + len(part), data + b"\n") if part else (0, b"")
        except FileNotFoundError:
            return Batch([], offset, seq)
        end = data.rfind(b"\n") + 1
        self._torn_at = -1 if end else size
        events, seq = events_of_lines(data[:end].split(b"\n"), seq)
        return Batch(events, offset + (LONGEST_LINE + skipped if skipped else end), seq)


def read_events(path: Path, *kinds: Kind) -> Iterator[tuple[int, Event]]:
    """The events of a whole file, each with the place of its line; those of some kinds only, if any are named. Lines
    that hold no event are passed over."""
    may_hold = re.compile("|".join(f'"{kind}"' for kind in kinds).encode()).search  # spares the reading of the others
    place = 0
    with path.open("rb") as lines:
        for line in lines:
            if may_hold(line) and line.endswith(b"\n"):
                try:
                    event = event_of(line)
                except NoEvent:
                    event = None
                if event is not None and (not kinds or event["kind"] in kinds):
                    yield place, event
            place += len(line)


def events_of_lines(lines: Iterable[bytes], last_seq: int) -> tuple[list[Event], int]:
    """The events of these lines that come after number `last_seq`, with a warning in the place of lines that are none;
    and the number of the last one."""
    events: list[Event] = []
    losses: list[tuple[LogEvent, int]] = []  # the warning in the place of lines that were lost one after another
    seq, time = last_seq, 0.0
    for line in lines:
        if not line.strip():
            continue
        try:
            event = _checked(line)
        except NoEvent as reason:
            if losses and events[-1] is losses[-1][0]:
                losses[-1] = (losses[-1][0], losses[-1][1] + 1)
                continue
            seq += 1  # the place that the line had: every line has the number after that of the one before
            warning: LogEvent = {"seq": seq, "time": time, "v": EVENT_VERSION, "kind": "log", "level": "warning",
                                 "message": f"{reason}: {line[:_SHOWN].decode(errors='replace')}"}
            events.append(warning)
            losses.append((warning, 1))
            continue
        if event["seq"] > last_seq:
            seq, time = max(seq, event["seq"]), event["time"]
            if event["kind"] in TYPES:
                events.append(cast(Event, event))
    for warning, count in losses:
        warning["message"] = (f"{count:,} line{'s' * (count > 1)} of the stage's report could not be read and were "
                              f"left out. The first one {warning['message']}")
    return events, seq


def event_of(line: bytes) -> Event | None:
    """The event of a line; None for a kind that this version does not know.

    Raises:
        NoEvent: the line holds none.
    """
    event = _checked(line)
    return cast(Event, event) if event["kind"] in TYPES else None


def seq_of(line: bytes) -> int:
    """The number of a line; 0 for one that has none."""
    seq = (_object_in(line) or {}).get("seq")
    return seq if type(seq) is int and 0 < seq < LARGEST_SEQ else 0


def _checked(line: bytes) -> dict[str, Any]:
    """The object of a line, with every field that its kind has, each of the right form."""
    event = _object_in(line)
    if event is None:
        raise NoEvent("is no JSON object")
    kind = event.get("kind")
    for name, fits, default in (FIELDS.get(kind) if type(kind) is str else None) or HEAD_FIELDS:
        if name not in event:
            if default is None:
                raise NoEvent(f"has no {name}")
            event[name] = default.value
        elif not fits(event[name]):
            if name == "v" and type(event["v"]) is int and event["v"] > EVENT_VERSION:
                raise NoEvent("was written by a newer version of Concord")
            raise NoEvent(f"has a {name} that is none")
    return event


def _object_in(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None for a line that holds none, as a broken disk leaves it."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:  # NaN, which only `json` reads, or no JSON at all
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None
