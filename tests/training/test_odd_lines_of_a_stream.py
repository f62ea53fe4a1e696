"""A stage that resumes reads its own stream past lines that hold no event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.ppo.health import _earlier_events
from training.recipe_run import _Tail
from training.run.event_stream import event_of, seq_of
from training.run.events import FIELDS
from training.run.reporting import EventFile


@pytest.fixture(params=[b"{", b"\0" * 30, b"[]", b"7", b"\xff", b"{}", b"[" * 50_000])
def stream(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "events.jsonl"
    reporter = EventFile(path)
    reporter.metric(1, {"loss": 0.5})
    reporter.close()
    with path.open("ab") as file:
        file.write(request.param + b"\n")
    reporter = EventFile(path)
    reporter.metric(2, {"loss": float("nan")})
    reporter.progress(2, 5)
    reporter.close()
    return path


def test_the_health_watch_hears_what_can_be_read(stream: Path) -> None:
    assert [event["step"] for event in _earlier_events(stream, 9)] == [1, 2]


def test_the_command_line_shows_what_can_be_read(stream: Path) -> None:
    assert _Tail(stream).line() == "2/5 steps  loss nan"


def test_numbers_go_on_after_it(stream: Path) -> None:
    assert [seq_of(line) for line in stream.read_bytes().split(b"\n")][-3:] == [2, 3, 0]


def test_what_only_json_reads_is_read_too() -> None:
    for value in (float("inf"), float("-inf"), 2**80):
        line = json.dumps({"seq": 1, "time": 1, "kind": "metric", "step": 1, "values": {"\ud83d": value}})
        event = event_of(line.encode())
        assert event is not None and event["kind"] == "metric" and event["values"] == {"\ud83d": value}


def test_a_probability_is_from_0_to_1_and_may_be_missing() -> None:
    fits = next(field.fits for field in FIELDS["label"] if field.name == "probability")
    assert all(map(fits, (0, 0.5, 1.0, None)))
    assert not any(map(fits, (-0.1, 1.1, float("nan"), "0.5", True)))
