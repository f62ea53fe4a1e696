"""The report stream has types: what a Reporter writes is what they say, and older versions' streams are still read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from training.config import JudgeSettings
from training.judges.judge import Answer, as_answer, as_label, verdict_of
from training.judges.label_ledger import LabelLedger
from training.judges.pair_index import PairIndex
from training.ppo.health import _earlier_events
from training.recipe_run import _Tail
from training.run import reporting
from training.run.event_stream import EventReader, NoEvent, event_of, events_of_lines, read_events
from training.run.events import EVENT_VERSION, TYPES, Event, Kind
from training.run.reporting import EventFile

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = sorted(folder.name for folder in RECORDED.iterdir())
JUDGE = JudgeSettings(kind="openai", model="gpt-4o-mini", base_url="https://judge.example/v1")
PAIRS = ["24b6d2d26acdf6299039b8d85066bbd2", "d675e6322191c9269a7af9b2e8759d0e", "e22612df6f35ae5cf1612043a16393d4",
         "1ff2ad752b2a0f8a83086a73d049d9a4"]


def tell_ppo(folder: Path) -> None:
    """What a PPO stage told that was stopped after its third step and went on from its second."""
    stream = EventFile(folder / "ppo.jsonl")
    stream.log("The policy has 1.2 million parameters, “gradients” on\n2 threads.")
    stream.progress(0, 4)
    for step in (1, 2, 3):
        stream.metric(step, {"reward/total": 0.25 * step, "kl/mean": float("nan") if step == 2 else 0.5,
                             "principle/conciseness/standardised": -0.5 * step})
        stream.progress(step, 4, "step")
    stream.sample(2, 0, "What is the capital of Avela?", "Norr. 😀", 0.75,
                  {"toxicity": 0.5, "conciseness": float("inf")})
    stream.sample(2, 1, "Why?", "Because\tso.", -1, {"toxicity": 0, "conciseness": 1})
    stream.warning("kl_blow_up", "The KL to the reference is 9.0 nats a response.", 3)
    stream.sample(3, 0, "What is the capital of Avela?", "It is void.", 9.0, {"toxicity": 9.0})
    stream.close()
    stream = EventFile(folder / "ppo.jsonl")
    stream.rewind(2)
    stream.log("resumed from step 2", "warning")
    stream.metric(3, {"reward/total": 0.875, "kl/mean": float("-inf")})
    stream.metric(4, {"reward/total": 1})
    stream.sample(4, 0, "What is the capital of Avela?", "Norr, I think.", 1.5, {"toxicity": 0.25})
    stream.warning("length_drift", "Responses have 90 tokens, 40 at the start.", 4)
    stream.progress(4, 4, "step")
    stream.artifact("adapter", "adapter")
    stream.close()


def tell_label(folder: Path) -> None:
    """What a label stage told that was stopped between the two orders of its fourth pair."""
    model = "gpt-4o-mini-2024-07-18"
    stream = EventFile(folder / "label.jsonl")
    stream.log("20 pairs to label for toxicity, 0 of them labelled before")
    first = Answer(0.875, "", 114, 1, 1, 460, model)
    stream.answer(as_answer(PAIRS[0], first))
    stream.answer(as_answer(PAIRS[3], Answer(0.5, "", 110, 1, 1, 440, model)))
    verdicts = [verdict_of(first, Answer(0.375, "", 115, 1, 1, 460, model)),
                verdict_of(Answer(None, "refused: no \ud83d")), verdict_of(Answer(0.25, "", 117, 1, 1, 450))]
    for pair, verdict in zip(PAIRS, verdicts, strict=False):
        stream.label(as_label(pair, "toxicity", verdict, JUDGE))
    stream.progress(3, 20, "label")
    stream.metric(3, {"label/done": 3.0, "label/confidence": 0.75})
    stream.artifact("labels", "labels.jsonl")
    stream.close()


def tell_siblings(folder: Path) -> None:
    """What a label stage told of another principle of its run."""
    stream = EventFile(folder / "siblings.jsonl")
    label = as_label(PAIRS[0], "detail", verdict_of(Answer(0.25, "", 117, 1, 1, 450)), JUDGE)
    stream.sibling_label({**label, "statement": "more detailed"})
    stream.close()


@pytest.fixture
def folder_of_events(tmp_path: Path) -> Path:
    """A folder with what this version writes."""
    tell_ppo(tmp_path)
    tell_label(tmp_path)
    tell_siblings(tmp_path)
    return tmp_path


def lines_of(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines()]


def without_time(line: bytes) -> bytes:
    return json.dumps(json.loads(line) | {"time": 0}, ensure_ascii=False).encode()


@pytest.mark.parametrize("stage", ["ppo", "label"])
def test_a_line_is_what_it_was_before_but_for_its_version(folder_of_events: Path, stage: str) -> None:
    before = lines_of(RECORDED / "before_versions" / f"{stage}.jsonl")
    now = [line.replace(b'"v":%d,' % EVENT_VERSION, b"", 1) for line in lines_of(folder_of_events / f"{stage}.jsonl")]
    assert list(map(without_time, now)) == list(map(without_time, before))


def test_every_kind_is_written_with_the_fields_of_its_type_and_no_others(folder_of_events: Path) -> None:
    events = list(map(json.loads, lines_of(*sorted(folder_of_events.glob("*.jsonl")))))
    assert {event["kind"] for event in events} == set(TYPES)
    for event in events:
        assert event.keys() == get_type_hints(TYPES[event["kind"]]).keys()
        assert event["v"] == EVENT_VERSION


def test_every_type_has_its_kind_and_is_among_the_events() -> None:
    assert set(TYPES) == set(get_args(Kind)) and set(TYPES.values()) == set(get_args(Event))
    for kind, event_type in TYPES.items():
        assert get_type_hints(event_type)["kind"].__args__ == (kind,)


@pytest.mark.parametrize("stage", ["ppo", "label"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_of_an_older_version_is_read_to_its_last_line(version: str, stage: str) -> None:
    path = RECORDED / version / f"{stage}.jsonl"
    lines = lines_of(path)
    batch = EventReader(path).after(0, 0)
    assert (batch.offset, batch.seq) == (path.stat().st_size, len(lines))
    assert str([event for _, event in read_events(path)]) == str(batch.events)  # by their texts: NaN is not NaN
    for line, event in zip(lines, batch.events, strict=True):
        assert event["v"] == 1 and event.keys() == get_type_hints(TYPES[event["kind"]]).keys()
        assert str({**event, **json.loads(line)}) == str(event)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_stage_and_the_command_line_know_what_an_older_version_told(version: str) -> None:
    path = RECORDED / version / "ppo.jsonl"
    assert [(event["kind"], event["step"]) for event in _earlier_events(path, 4)] == [
        ("metric", 1), ("metric", 2), ("sample", 2), ("sample", 2), ("metric", 3), ("metric", 4), ("sample", 4)]
    assert _Tail(path).line() == "4/4 steps  reward/total 1"


@pytest.mark.parametrize(("version", "calls", "halves"), [("first", 0, 0), ("before_versions", 4, 1)])
def test_labels_of_an_older_version_are_not_bought_again(
    tmp_path: Path, version: str, calls: int, halves: int,
) -> None:
    """The first version asked no price and kept no halves."""
    prompt: list[dict[str, Any]] = [{"role": "user", "content": "Why?"}]
    (tmp_path / "pairs.jsonl").write_text("".join(
        json.dumps({"digest": pair, "prompt": prompt, "a": "A", "b": "B"}) + "\n" for pair in PAIRS))
    stream = RECORDED / version / "label.jsonl"
    ledger = LabelLedger(PairIndex(tmp_path / "pairs.jsonl"), "toxicity", False, None, stream)
    assert ledger.done.tolist() == [True, False, True, False]
    assert (ledger.spent.calls, len(ledger.awaiting_second_order)) == (calls, halves)
    rows = list(ledger.rows())
    assert [row["pair"] for row in rows] == PAIRS[:3] and not any(row.keys() & {"seq", "time", "v"} for row in rows)


def test_a_stream_that_two_versions_wrote_is_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes((RECORDED / "first" / "ppo.jsonl").read_bytes())
    stream = EventFile(path)
    stream.log("a newer version goes on")
    stream.close()
    events = [event for _, event in read_events(path)]
    assert [event["seq"] for event in events] == list(range(1, 22))
    assert [event["v"] for event in events] == [1] * 20 + [EVENT_VERSION]


def test_what_a_newer_version_says_otherwise_is_left_out_and_said() -> None:
    line = json.dumps({"seq": 1, "time": 1, "v": EVENT_VERSION + 1, "kind": "log", "level": "info", "message": "m"})
    with pytest.raises(NoEvent, match="newer version"):
        event_of(line.encode())
    (warning,), _ = events_of_lines([line.encode()], 0)
    assert warning["kind"] == "log" and "was written by a newer version of Concord" in warning["message"]


def test_a_new_kind_and_a_new_field_are_passed_over_and_counted() -> None:
    kind = json.dumps({"seq": 7, "time": 1, "v": EVENT_VERSION, "kind": "picture", "path": 3}).encode()
    field = json.dumps({"seq": 8, "time": 1, "v": EVENT_VERSION, "kind": "rewind", "step": 1, "why": []}).encode()
    assert event_of(kind) is None
    assert events_of_lines([kind], 0) == ([], 7)
    assert [event["kind"] for event in events_of_lines([kind, field], 0)[0]] == ["rewind"]


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_a_field_that_is_missing_has_its_default_or_is_said(folder_of_events: Path, kind: str) -> None:
    events = [json.loads(line) for line in lines_of(*sorted(folder_of_events.glob("*.jsonl")))]
    whole_event = next(event for event in events if event["kind"] == kind)
    later = {"v", "level", "message", "path", "name", "principle", "model", "order_gap", "tokens_in", "calls", "chars"}
    for name in whole_event:
        line = json.dumps({key: value for key, value in whole_event.items() if key != name}).encode()
        if name in later and not (kind == "answer" and name != "v"):
            event = event_of(line)
            assert event is not None and event.keys() == whole_event.keys()
        elif name != "kind":
            with pytest.raises(NoEvent, match=f"has no {name}"):
                event_of(line)


def test_no_number_of_a_metric_is_changed_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting.time, "time", lambda: 1_750_000_000.25)
    values = {f"{place}": float(value) for place, value in enumerate(np.random.default_rng(3).normal(size=200))}
    stream = EventFile(tmp_path / "events.jsonl")
    stream.metric(1, values)
    stream.close()
    [(place, event)] = read_events(tmp_path / "events.jsonl", "metric")
    assert (place, event["time"]) == (0, 1_750_000_000.25)
    assert event["kind"] == "metric" and event["values"] == values
