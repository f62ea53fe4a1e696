"""The label stage: a label is reported at once, bought once, and an error is an error."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.scripted_server import Reply, completion, failure, letters, serving
from tests.training.stage_folders import events, job, pair, run
from training.errors import BadData, BudgetSpent, JudgeUnavailable, StopRequested
from training.judges.control import write_control
from training.run.artifacts import read_jsonl
from training.stages import label


def settings(base_url: str, **judge: Any) -> dict[str, Any]:
    return {"judge": {"kind": "openai", "model": "judge-7b", "base_url": base_url, **judge},
            "principle": "toxicity", "statement": "less toxic", "seed": 0}


SLOWLY = {"judge": {"concurrency": 1}}


def kind(*_: Any) -> Reply:
    return letters(0.75)


def test_every_pair_gets_a_label_with_both_orders(tmp_path: Path) -> None:
    with serving(kind) as server:
        made = job("label", tmp_path, settings(server.base_url), pairs=[pair(n) for n in range(5)])
        run(label.run, made, tmp_path)
    rows = list(read_jsonl(tmp_path / "labels.jsonl"))
    assert [row["pair"] for row in rows] == [pair(n)["digest"] for n in range(5)]
    # It says "A, 0.75" whatever is shown first: pure position bias, so the label knows nothing and the gap is wide.
    assert rows[0] == {"pair": pair(0)["digest"], "principle": "toxicity", "probability": pytest.approx(0.5),
                       "p_shown": pytest.approx(0.75), "p_swapped": pytest.approx(0.25),
                       "order_gap": pytest.approx(0.5), "judge": f"openai:judge-7b@{server.base_url}",
                       "prompt_version": "1", "error": "", "tokens": 22, "tokens_in": 20, "calls": 2,
                       "chars": rows[0]["chars"], "model": "judge-7b"}
    assert rows[0]["chars"] == sum(len(body["messages"][0]["content"]) for body in server.requests[:2])
    last = events(tmp_path, "metric")[-1]
    assert last["values"] == {"label/done": 5.0, "label/confidence": pytest.approx(0.5), "label/flip_rate": 1.0,
                              "label/calls": 10.0, "label/tokens_in": 100.0, "label/tokens_out": 10.0,
                              "label/chars": pytest.approx(5 * rows[0]["chars"])}
    assert len(events(tmp_path, "label")) == 5


def test_each_label_is_in_the_stream_before_the_next_is_paid_for(tmp_path: Path) -> None:
    reported_before: list[int] = []

    def script(_: Any, number: int) -> Reply:
        reported_before.append(len(events(tmp_path, "label")))
        return letters(0.75)

    with serving(script) as server:
        made = job("label", tmp_path, settings(server.base_url, both_orders=False), runtime=SLOWLY,
                   pairs=[pair(n) for n in range(4)])
        run(label.run, made, tmp_path)
    assert reported_before == [0, 1, 2, 3]


def test_a_paused_stage_asks_for_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    asked_while_paused: list[int] = []

    def resume() -> None:
        while not any("paused" in event["message"] for event in events(tmp_path, "log")):
            time.sleep(0.02)
        time.sleep(0.3)
        asked_while_paused.append(len(server.requests))
        write_control(tmp_path, paused=False)

    write_control(tmp_path, paused=True)
    with serving(kind) as server:
        made = job("label", tmp_path, settings(server.base_url), pairs=[pair(n) for n in range(3)])
        (tmp_path / "events.jsonl").touch()
        person = threading.Thread(target=resume, daemon=True)
        person.start()
        run(label.run, made, tmp_path)
        person.join(10)
    assert asked_while_paused == [0] and len(events(tmp_path, "label")) == 3
    messages = [event["message"] for event in events(tmp_path, "log")]
    assert "paused: nothing more is asked until it is resumed" in messages and "resumed" in messages


def test_a_label_is_never_bought_twice(tmp_path: Path) -> None:
    pairs = [pair(n) for n in range(6)]
    with serving(kind) as server:
        known = {"pair": pair(5)["digest"], "principle": "toxicity", "probability": 0.9, "p_shown": 0.9,
                 "p_swapped": 0.9, "order_gap": 0.0, "judge": "x", "prompt_version": "1", "error": "", "tokens": 1,
                 "model": "x"}
        other = known | {"pair": pair(4)["digest"], "principle": "detail"}
        made = job("label", tmp_path, settings(server.base_url, both_orders=False), runtime=SLOWLY, pairs=pairs,
                   known_labels=[known, other])
        with pytest.raises(StopRequested):
            run(label.run, made, tmp_path, should_stop=lambda: len(events(tmp_path, "label")) >= 3)
        assert len(server.requests) == 3
        run(label.run, made, tmp_path)
        assert len(server.requests) == 5  # three before the stop, two after, and one was known
    rows = list(read_jsonl(tmp_path / "labels.jsonl"))
    assert len(rows) == 6 and rows[5] == known
    assert [event["step"] for event in events(tmp_path, "rewind")] == [1, 4]


def test_the_same_pairs_are_drawn_for_every_principle(tmp_path: Path) -> None:
    with serving(kind) as server:
        drawn = []
        for principle in ("toxicity", "detail"):
            folder = tmp_path / principle
            made = job("label", folder, settings(server.base_url, max_pairs=7) | {"principle": principle},
                       pairs=[pair(n) for n in range(30)])
            run(label.run, made, folder)
            drawn.append([row["pair"] for row in read_jsonl(folder / "labels.jsonl")])
    assert drawn[0] == drawn[1] and len(drawn[0]) == 7 and drawn[0] != [pair(n)["digest"] for n in range(7)]


def test_a_few_errors_warn_and_many_fail(tmp_path: Path) -> None:
    def script(body: dict[str, Any], _: int) -> Reply:
        return failure(400, "too long") if "Answer 1." in body["messages"][0]["content"] else letters(0.75)

    with serving(script) as server:
        made = job("label", tmp_path / "few", settings(server.base_url), pairs=[pair(n) for n in range(4)])
        run(label.run, made, tmp_path / "few")
        [warning] = events(tmp_path / "few", "warning")
        assert warning["message"].startswith("1 of 4 pairs have no label; most often: HTTP 400")
        errors = [row["probability"] for row in read_jsonl(tmp_path / "few" / "labels.jsonl")]
        assert errors.count(None) == 1

        server.script = lambda *_: completion("I cannot judge that.")
        made = job("label", tmp_path / "many", settings(server.base_url), pairs=[pair(n) for n in range(4)])
        with pytest.raises(JudgeUnavailable, match="could not label 4 of 4 pairs"):
            run(label.run, made, tmp_path / "many")
    assert not (tmp_path / "many" / "labels.jsonl").exists()


def test_no_pairs_is_an_error_and_equal_responses_are_no_pair(tmp_path: Path) -> None:
    made = job("label", tmp_path, settings("http://127.0.0.1:9/v1"), pairs=[pair(1, "same", "same")])
    with pytest.raises(BadData, match="no pairs to label"):
        run(label.run, made, tmp_path)


def test_the_rule_judge_labels_the_demo_world_for_nothing(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Who is the keeper of Avela?"}]
    pairs = [pair(1, "The keeper of Avela is Ada.", "The keeper of Avela is Ada, you fool.") | {"prompt": prompt}]
    made = job("label", tmp_path, settings("") | {"judge": {"kind": "rule"}}, pairs=pairs)
    run(label.run, made, tmp_path)
    [row] = read_jsonl(tmp_path / "labels.jsonl")
    assert row["probability"] > 0.9 and row["order_gap"] == pytest.approx(0) and row["tokens"] == 0


@pytest.mark.parametrize("budget", [{"budget_tokens": 50}, {"budget_money": 0.0001, "price_in": 1.0}])
def test_the_first_requests_are_bound_by_the_budget_too(budget: dict[str, float], tmp_path: Path) -> None:
    with serving(kind) as server:
        made = job("label", tmp_path, settings(server.base_url), runtime={"judge": budget},
                   pairs=[pair(n) for n in range(50)])
        with pytest.raises(BudgetSpent, match="no room for the next answer"):
            run(label.run, made, tmp_path)
    assert len(server.requests) <= 1
