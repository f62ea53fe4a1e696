"""A stage's report stream with lines that no stage should write: what can be read is recorded, and nothing loops."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import run_before, stage_of
from training.run import event_stream
from training.run.event_stream import events_of_lines
from training.run.reporting import EventFile
from webapp.accounts.models import Team, User
from webapp.runs.models import LogLine, Sample, Stage
from webapp.runs.series.curves import read_series
from workers.leases import Lease, claim
from workers.recording import LeaseLost, Recorder
from workers.supervisor import _Attempt

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stage(team: Team, owner: User) -> Stage:
    stage = stage_of(run_before("ppo", team, owner), "ppo")
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.RUNNING, lease_token="mine")
    stage.folder.mkdir(parents=True, exist_ok=True)
    return Stage.objects.get(pk=stage.pk)


def line(seq: int, kind: str = "metric", **body: Any) -> bytes:
    body = body or {"step": seq, "values": {"loss": 1.0 * seq}}
    return json.dumps({"seq": seq, "time": 1.7e9 + seq, "kind": kind, **body}).encode()


def record(stage: Stage, *lines: bytes) -> Recorder:
    """Record all of it; more rounds than there are lines would be a loop."""
    with (stage.folder / "events.jsonl").open("ab") as file:
        file.write(b"".join(text + b"\n" for text in lines))
    recorder = Recorder(stage, "mine")
    for _ in range(len(lines) + 2):
        if not recorder.record_new():
            break
    else:
        raise AssertionError("it does not end")
    assert Stage.objects.get(pk=stage.pk).events_offset == (stage.folder / "events.jsonl").stat().st_size
    return recorder


def losses(stage: Stage) -> list[float]:
    return [float(value) for value in read_series(stage, "loss").values] if stage.chunks.filter(tag="loss") else []


ODD = [
    b"\0" * 40, b"{", b'{"seq": 2, "time": 1.7e9, "ki', b"[1, 2]", b"null", b"7", b"\xff\xfe\x00", b"[" * 100_000,
    b"{}", b'{"seq": 2}', line(2, "metric", step=-1, values={"loss": 9}),
    line(2, "metric", step=2**31, values={"loss": 9}),
    line(2, "metric", step=1.5, values={"loss": 9}), line(2, "metric", step=True, values={"loss": 9}),
    line(2, "metric", step="2", values={"loss": 9}), line(2, "metric", step=2, values=[9]),
    line(2, "metric", step=2, values={"loss": "much"}), line(2, "metric", step=2, values={"loss": None}),
    line(2, "metric", step=2, values={"loss": 10**400}), line(2, "metric", step=2),
    line(2, "progress", done=-1, total=2, unit="step"), line(2, "progress", done=1, total=2**40, unit="step"),
    line(2, "progress", done=1, total=2, unit=None),
    line(2, "sample", step=1, index=70_000, prompt="p", response="r", reward=1, rewards={}),
    line(2, "sample", step=1, index=0, prompt=None, response="r", reward=1, rewards={}),
    line(2, "sample", step=1, index=0, prompt="p", response="r", reward="1", rewards={}),
    line(2, "warning", code="x", message="m", step=-4), line(2, "warning", code=5, message="m", step=4),
    line(2, "log", level="info", message=["m"]), line(2, "rewind", step=-7),
    b'{"seq": 2, "time": 1, "kind": "rewind"}',
    line(2, "label", pair=1, probability=3, p_shown=None, p_swapped=None, judge="j", prompt_version="1", error="",
         tokens=0),
    b'{"seq": 2, "time": NaN, "kind": "metric", "step": 2, "values": {"loss": 9}}',
    b'{"seq": 2, "time": 1e300, "kind": "log", "level": "info", "message": "m"}',
    b'{"seq": "2", "time": 1, "kind": "log", "level": "info", "message": "m"}',
    b'{"seq": ' + b"9" * 5000 + b', "time": 1, "kind": "log", "level": "info", "message": "m"}',
    b'{"seq": 1e400, "time": 1, "kind": "log", "level": "info", "message": "m"}',
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:60].decode(errors="replace"))
def test_a_line_that_is_no_event_is_left_out_and_said(stage: Stage, odd: bytes) -> None:
    record(stage, line(1), odd, line(3), line(4, "log", level="info", message="all went on"))
    assert losses(stage) == [1.0, 3.0]
    lines = list(LogLine.objects.filter(stage=stage).values_list("level", "message"))
    assert [level for level, _ in lines] == ["warning", "info"]
    assert "1 line of the stage's report could not be read" in lines[0][1]


def test_many_odd_lines_are_said_once(stage: Stage) -> None:
    record(stage, line(1), *[b"{"] * 500, line(502))
    assert losses(stage) == [1.0, 502.0]
    assert "500 lines" in LogLine.objects.get(stage=stage).message


def test_a_line_of_great_length_is_left_out_and_read_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MOST_BYTES", 1000)
    monkeypatch.setattr(event_stream, "LONGEST_LINE", 5000)
    for length in (4000, 5000, 5001, 6000, 50_000):
        text = json.dumps({"seq": 2, "time": 1, "kind": "log", "level": "info", "message": "m" * length}).encode()
        seq = Stage.objects.get(pk=stage.pk).events_seq
        record(stage, line(seq + 1), text, line(seq + 3))
        assert losses(stage)[-2:] == [seq + 1.0, seq + 3.0], length


def test_a_torn_end_waits_and_is_not_read_again_and_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = record(stage, line(1))
    path = stage.folder / "events.jsonl"
    with path.open("ab") as file:
        file.write(line(2)[:20])
    assert not recorder.record_new()
    monkeypatch.setattr(event_stream, "events_of_lines", lambda *_: pytest.fail("the same bytes were read twice"))
    assert not recorder.record_new()
    monkeypatch.undo()
    with path.open("ab") as file:
        file.write(line(2)[20:] + b"\n")
    assert recorder.record_new() and losses(stage) == [1.0, 2.0]


def test_lines_that_were_recorded_before_are_passed_over(stage: Stage) -> None:
    record(stage, *[line(seq) for seq in (1, 2, 3)])
    again = [line(seq, step=seq, values={"loss": 99.0}) for seq in (1, 2, 3)]
    record(stage, *again, b"", line(4))
    assert losses(stage) == [1.0, 2.0, 3.0, 4.0]


def test_numbers_that_are_none_and_steps_in_any_order_are_kept(stage: Stage) -> None:
    values = {"nan": float("nan"), "inf": float("inf"), "loss": 1}
    record(stage, line(1, step=5, values=values), line(2, step=3, values={"loss": 2}),
           line(3, step=4, values={"loss": 3}), line(4, step=2**31 - 1, values={"loss": 4}),
           line(5, step=0, values={"loss": 5}))
    assert losses(stage) == [5, 2, 3, 1, 4]
    assert read_series(stage, "inf").values.tolist() == [float("inf")]


def test_texts_of_machines_are_stored_whatever_is_in_them(stage: Stage) -> None:
    odd = "a\0b\ud800c,\n"
    record(stage, line(1, step=1, values={odd: 1.0, "long" * 500: 2.0, "": 3.0}),
           line(2, "sample", step=1, index=0, prompt=odd, response=odd, reward=float("nan"),
                rewards={odd: float("inf")}),
           line(3, "log", level=odd * 9, message=odd), line(4, "warning", code=odd * 99, message=odd, step=1),
           line(5, "progress", done=7, total=3, unit=odd * 20), line(6, "artifact", name=odd, path=odd))
    assert stage.chunks.count() == 3
    assert Sample.objects.get(stage=stage).rewards == {"a\ufffdb\ufffdc,\n": 0.0}
    assert LogLine.objects.filter(stage=stage).count() == 3


def test_a_stage_writes_halves_of_characters_as_what_can_be_read(stage: Stage) -> None:
    reporter = EventFile(stage.folder / "events.jsonl")
    reporter.log("cut \ud83d")
    reporter.label({"pair": "p", "probability": None, "p_shown": None, "p_swapped": None, "judge": "j",
                    "error": "\ud83d", "prompt_version": "1", "tokens": 0, "model": ""})
    reporter.close()
    events, _ = events_of_lines((stage.folder / "events.jsonl").read_bytes().split(b"\n"), 0)
    assert [event["seq"] for event in events] == [1, 2]
    assert events[0]["message"] == "cut \ufffd" == "cut " + events[1]["error"]


@pytest.mark.parametrize("odd", [
    b"\0" * 200_000 + b"\n", b"{\n" * 50_000, b'{"seq": -4}\n', b"[]\n", b'{"seq": 8', b"x" * 300_000])
def test_a_stage_goes_on_counting_after_the_last_line_that_can_be_read(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(7) + b"\n" + odd)
    reporter = EventFile(path)
    reporter.log("on")
    reporter.close()
    assert json.loads(path.read_bytes().splitlines()[-1])["seq"] == 8


def test_forty_thousand_points_in_falling_order_are_one_series(stage: Stage) -> None:
    record(stage, *[line(seq, step=50_000 - seq, values={"loss": 1.0}) for seq in range(1, 40_001)])
    assert len(losses(stage)) == 40_000


def test_a_failure_keeps_its_cause_whatever_is_in_it(stage: Stage) -> None:
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.QUEUED)
    claimed = claim(stage.pk)
    assert claimed is not None
    with Lease(claimed) as lease:
        _Attempt(claimed, lease, threading.Event())._fail("k\0", "no \0 memory", "half \ud83d", "log \0\ud800")
    after = Stage.objects.get(pk=stage.pk)
    assert (after.failure_kind, after.cause, after.remedy, after.details) == (
        "k\ufffd", "no \ufffd memory", "half \ufffd", "log \ufffd\ufffd")


def test_of_two_recorders_with_one_lease_the_second_records_nothing_of_the_same_batch(stage: Stage) -> None:
    (stage.folder / "events.jsonl").write_bytes(line(1) + b"\n" + line(2, "log", message="once", level="info") + b"\n")
    first, second = (Recorder(Stage.objects.get(pk=stage.pk), "mine") for _ in range(2))

    assert first.record_new()
    with pytest.raises(LeaseLost):
        second.record_new()

    assert losses(stage) == [1.0]
    assert list(LogLine.objects.values_list("message", flat=True)) == ["once"]
