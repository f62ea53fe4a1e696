"""The report stream: how a stage tells the world what it does, and how it hears that it should stop.

A stage writes one JSON line an event to `events.jsonl`. Every event has `seq` (1, 2, 3 ... in file order), `time`
(unix seconds) and `kind`; the other keys depend on the kind:

    metric    step, values {tag: float}
    progress  done, total, unit
    sample    step, index, prompt, response, reward, rewards {principle: float}   (rewards are standardised)
    label     pair (digest), principle, probability, p_shown, p_swapped, order_gap, judge, prompt_version, error, tokens
    answer    pair, probability, ...: the first of two orders of a pair; its label follows with the second
    artifact  name, path (relative to the stage's folder)
    log       level, message
    warning   step, code, message
    rewind    step: points and samples after `step` are void, the stage resumed from a checkpoint at that step

The file is only ever appended to. A torn last line (the process was killed while writing) is cut off when the
stage is opened again: readers take whole lines only, so nobody has seen it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from training.errors import StopRequested
from training.text import storable

Kind = Literal["metric", "progress", "sample", "answer", "label", "artifact", "log", "warning", "rewind"]


class Reporter(Protocol):
    """The only door out of a stage, and the only way a stop comes in."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, done: int, total: int, unit: str = "step") -> None: ...
    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None: ...
    def label(self, label: Mapping[str, Any]) -> None: ...
    def answer(self, answer: Mapping[str, Any]) -> None: ...
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

    def emit(self, kind: Kind, **body: Any) -> None:
        self._seq += 1
        event = {"seq": self._seq, "time": round(time.time(), 3), "kind": kind, **body}
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n"
        self._file.write(storable(line).encode())  # one write a line: unbuffered, so a kill tears at most the last one

    def _emit_fast(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """The same line in a quarter of the time: there are millions of these. No NaN is among them, which orjson
        would write as null."""
        self._seq += 1
        event = {"seq": self._seq, "time": round(time.time(), 3), "kind": kind, **body}
        try:
            self._file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
        except orjson.JSONEncodeError:  # half of a character, or a number of more than 64 bits
            self._seq -= 1
            self.emit(kind, **body)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.emit("metric", step=step, values={tag: float(value) for tag, value in values.items()})

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        self.emit("progress", done=done, total=total, unit=unit)

    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None:
        self.emit("sample", step=step, index=index, prompt=prompt, response=response, reward=float(reward),
                  rewards={name: float(value) for name, value in rewards.items()})

    def label(self, label: Mapping[str, Any]) -> None:
        self._emit_fast("label", label)

    def answer(self, answer: Mapping[str, Any]) -> None:
        self._emit_fast("answer", answer)

    def artifact(self, name: str, path: str) -> None:
        self.emit("artifact", name=name, path=path)

    def log(self, message: str, level: str = "info") -> None:
        self.emit("log", level=level, message=message)

    def warning(self, code: str, message: str, step: int = 0) -> None:
        self.emit("warning", code=code, message=message, step=step)

    def rewind(self, step: int) -> None:
        self.emit("rewind", step=step)

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
            seq = next(filter(None, map(_seq_of, reversed(lines if start == 0 else lines[1:]))), 0)
            if seq or not start:
                break
            start, step = max(0, start - step), step * 2
            file.seek(start)
            tail = file.read(size - start)
        file.truncate(start + end)
    return seq


def _seq_of(line: bytes) -> int:
    """The number of a line; 0 for one that is no event."""
    seq = event_in(line).get("seq")
    return seq if type(seq) is int and 0 < seq < 2**62 else 0


def event_in(line: bytes) -> dict[str, Any]:
    """The JSON object of a line of a stream; empty for a line that holds none, as a broken disk leaves it."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:  # NaN, which only `json` reads, or no JSON at all
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return {}
    return event if isinstance(event, dict) else {}


class NullReporter:
    """A Reporter that tells nobody anything and is never asked to stop."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, done: int, total: int, unit: str = "step") -> None: ...
    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None: ...
    def answer(self, answer: Mapping[str, Any]) -> None: ...
    def label(self, label: Mapping[str, Any]) -> None: ...
    def artifact(self, name: str, path: str) -> None: ...
    def log(self, message: str, level: str = "info") -> None: ...
    def warning(self, code: str, message: str, step: int = 0) -> None: ...
    def rewind(self, step: int) -> None: ...
    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None: ...
