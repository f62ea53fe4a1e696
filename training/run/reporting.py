"""The report stream: how a stage tells the world what it does, and how it hears that it should stop.

A stage writes one JSON line an event to `events.jsonl`; `training.run.events` has a type for each kind, and
`training.run.event_stream` reads them. The file is only ever appended to. A torn last line (the process was killed
while writing) is cut off when the stage is opened again: readers take whole lines only, so nobody has seen it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import orjson

from training.errors import StopRequested
from training.run.event_stream import seq_of
from training.run.events import (
    EVENT_VERSION,
    AnswerBody,
    AnswerEvent,
    ArtifactEvent,
    Event,
    Head,
    LabelBody,
    LabelEvent,
    LogEvent,
    MetricEvent,
    ProgressEvent,
    RewindEvent,
    SampleEvent,
    SiblingLabelBody,
    SiblingLabelEvent,
    WarningEvent,
)
from training.text import storable


class Reporter(Protocol):
    """The only door out of a stage, and the only way a stop comes in."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, done: int, total: int, unit: str = "step") -> None: ...
    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None: ...
    def label(self, label: LabelBody) -> None: ...
    def sibling_label(self, label: SiblingLabelBody) -> None: ...
    def answer(self, answer: AnswerBody) -> None: ...
    def artifact(self, name: str, path: str) -> None: ...
    def log(self, message: str, level: str = "info") -> None: ...
    def warning(self, code: str, message: str, step: int = 0) -> None: ...
    def rewind(self, step: int) -> None: ...
    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        """At a safe point: if a stop was asked for, call `save` and raise StopRequested."""


class EventFile:
    """A Reporter that appends to `events.jsonl` and flushes every line, so that a reader sees it at once."""

    def __init__(self, path: Path, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._should_stop = should_stop
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seq = _repair(path)
        self._file = path.open("ab", buffering=0)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        event: MetricEvent = {**self._head(), "kind": "metric", "step": step,
                              "values": {tag: float(value) for tag, value in values.items()}}
        self._write(event)

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        event: ProgressEvent = {**self._head(), "kind": "progress", "done": done, "total": total, "unit": unit}
        self._write(event)

    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None:
        event: SampleEvent = {**self._head(), "kind": "sample", "step": step, "index": index, "prompt": prompt,
                              "response": response, "reward": float(reward),
                              "rewards": {name: float(value) for name, value in rewards.items()}}
        self._write(event)

    def label(self, label: LabelBody) -> None:
        event: LabelEvent = {**self._head(), "kind": "label", **label}
        self._write_fast(event)

    def sibling_label(self, label: SiblingLabelBody) -> None:
        event: SiblingLabelEvent = {**self._head(), "kind": "sibling_label", **label}
        self._write_fast(event)

    def answer(self, answer: AnswerBody) -> None:
        event: AnswerEvent = {**self._head(), "kind": "answer", **answer}
        self._write_fast(event)

    def artifact(self, name: str, path: str) -> None:
        event: ArtifactEvent = {**self._head(), "kind": "artifact", "name": name, "path": path}
        self._write(event)

    def log(self, message: str, level: str = "info") -> None:
        event: LogEvent = {**self._head(), "kind": "log", "level": level, "message": message}
        self._write(event)

    def warning(self, code: str, message: str, step: int = 0) -> None:
        event: WarningEvent = {**self._head(), "kind": "warning", "code": code, "message": message, "step": step}
        self._write(event)

    def rewind(self, step: int) -> None:
        event: RewindEvent = {**self._head(), "kind": "rewind", "step": step}
        self._write(event)

    def _head(self) -> Head:
        self._seq += 1
        return {"seq": self._seq, "time": round(time.time(), 3), "v": EVENT_VERSION}

    def _write(self, event: Event) -> None:
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._file.write(storable(line).encode())  # one write a line: unbuffered, so a kill tears at most the last one

    def _write_fast(self, event: LabelEvent | SiblingLabelEvent | AnswerEvent) -> None:
        """The same line in a quarter of the time: there are millions of these. No NaN is among them, which orjson
        would write as null."""
        try:
            self._file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:  # half of a character, or a number of more than 64 bits
            self._write(event)

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        if self._should_stop():
            save()
            raise StopRequested

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


def _repair(path: Path) -> int:
    """Cut a torn last line off and return the last sequence number that can be read (0 for a new file)."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = start = file.seek(0, os.SEEK_END)
        tail = b""
        step = 65536
        while True:  # the file may be far larger than what is needed of it
            end = tail.rfind(b"\n") + 1
            lines = tail[:end].split(b"\n")
            seq = next(filter(None, map(seq_of, reversed(lines if start == 0 else lines[1:]))), 0)
            if seq or not start:
                break
            start, step = max(0, start - step), step * 2
            file.seek(start)
            tail = file.read(size - start)
        file.truncate(start + end)
    return seq


class NullReporter:
    """A Reporter that tells nobody anything and is never asked to stop."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, done: int, total: int, unit: str = "step") -> None: ...
    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None: ...
    def answer(self, answer: AnswerBody) -> None: ...
    def label(self, label: LabelBody) -> None: ...
    def sibling_label(self, label: SiblingLabelBody) -> None: ...
    def artifact(self, name: str, path: str) -> None: ...
    def log(self, message: str, level: str = "info") -> None: ...
    def warning(self, code: str, message: str, step: int = 0) -> None: ...
    def rewind(self, step: int) -> None: ...
    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None: ...
