"""The Batch API: sent once, followed, collected, resumed after a kill, and what failed is sent again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.batch_server import BatchServer, batches
from tests.training.scripted_server import Reply, failure, letters
from tests.training.stage_folders import events, job, pair, run
from training.errors import BudgetSpent, JudgeUnavailable, StopRequested
from training.run.artifacts import read_json, read_jsonl
from training.stages import label


def prepared(folder: Path, server: BatchServer, **judge: Any) -> Any:
    settings = {"judge": {"kind": "openai", "model": "judge-7b", "base_url": server.base_url},
                "principle": "toxicity", "statement": "less toxic", "seed": 0}
    return job("label", folder, settings, pairs=[pair(n) for n in range(5)],
               runtime={"judge": {"mode": "batch", **judge}})


def test_both_orders_of_every_pair_go_in_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        run(label.run, prepared(tmp_path, server), tmp_path)
    rows = list(read_jsonl(tmp_path / "labels.jsonl"))
    assert len(server.batches) == 1 and len(rows) == 5
    assert [(row["p_shown"], row["p_swapped"], row["calls"]) for row in rows] == [
        (pytest.approx(0.75), pytest.approx(0.25), 2)] * 5
    sent = [json.loads(line) for line in server.files["file-0"].splitlines()]
    first, second = (line["body"]["messages"][0]["content"].partition("=== Option A ===\n")[2] for line in sent[:2])
    assert first.startswith("Answer 0.") and second.startswith("Another answer 0.")
    assert len(sent) == 10 and sent[0]["body"]["max_tokens"] == 1 and sent[0]["url"] == "/v1/chat/completions"


def test_what_failed_is_sent_again_and_what_always_fails_is_an_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        fails = lambda name: name == "3-1" or (name == "2-0" and len(server.batches) == 1)  # noqa: E731
        server.script = lambda body, name: failure(500, "oh") if fails(name) else letters(0.75)
        run(label.run, prepared(tmp_path, server), tmp_path)
    sizes = [len(server.files[batch["input_file_id"]].splitlines()) for batch in server.batches.values()]
    assert sizes == [10, 2, 1]
    errors = {row["pair"]: row["error"] for row in read_jsonl(tmp_path / "labels.jsonl") if row["error"]}
    assert list(errors) == [pair(3)["digest"]] and "unavailable" in errors[pair(3)["digest"]]


def test_what_the_server_refuses_for_good_is_not_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        server.script = lambda body, name: failure(400, "too long") if name == "3-1" else letters(0.75)
        run(label.run, prepared(tmp_path, server), tmp_path)
    errors = [row["error"] for row in read_jsonl(tmp_path / "labels.jsonl") if row["error"]]
    assert errors == ["HTTP 400: too long (error) (in the swapped order)"] and len(server.batches) == 1


def test_a_server_that_wants_other_words_is_asked_in_them_as_often_as_it_takes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(body: dict[str, Any], name: str) -> Reply:
        if "max_tokens" in body:
            return failure(400, "use 'max_completion_tokens' instead")
        if body.get("top_logprobs", 0) > 5:
            return failure(400, "top_logprobs must be at most 5")
        return failure(400, "temperature does not support 0") if "temperature" in body else letters(0.75)

    with batches(monkeypatch) as server:
        server.script = script
        run(label.run, prepared(tmp_path, server), tmp_path)
    assert [len(server.rows(batch)) for batch in server.batches.values()] == [10, 10, 10, 10]
    assert not any(row["error"] for row in read_jsonl(tmp_path / "labels.jsonl"))


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_stage_that_was_stopped_collects_the_batch_it_had_sent(
        forgotten: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        server.looks = 10_000
        made = prepared(tmp_path, server)
        with pytest.raises(StopRequested):
            run(label.run, made, tmp_path, should_stop=lambda: bool(server.batches))
        assert [row["id"] for row in read_json(tmp_path / "batches.json")] == ["batch-0"]
        if forgotten:  # killed after it was sent and before that was written down
            (tmp_path / "batches.json").unlink()
        server.looks = 1
        run(label.run, made, tmp_path)
    assert len(server.batches) == 1 and len(events(tmp_path, "label")) == 5


def test_a_stage_that_was_stopped_while_it_collected_buys_nothing_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        made = prepared(tmp_path, server)
        with pytest.raises(StopRequested):
            run(label.run, made, tmp_path, should_stop=lambda: len(events(tmp_path, "label")) == 2)
        run(label.run, made, tmp_path)
    assert len(server.batches) == 1 and len(list(read_jsonl(tmp_path / "labels.jsonl"))) == 5


def test_a_batch_is_as_large_as_the_budget_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server, pytest.raises(BudgetSpent, match="8 of 9 answers"):
        run(label.run, prepared(tmp_path, server, budget_calls=9), tmp_path)
    assert len(server.files["file-0"].splitlines()) == 8 and len(server.batches) == 1
    assert len(events(tmp_path, "label")) == 4


@pytest.mark.parametrize("budget", [{"budget_tokens": 100}, {"budget_money": 0.001, "price_in": 5.0}])
def test_the_first_batch_is_bound_by_what_it_is_estimated_to_cost(
        budget: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server, pytest.raises(BudgetSpent):
        run(label.run, prepared(tmp_path, server, **budget), tmp_path)
    assert not server.batches


def test_a_batch_that_was_sent_is_collected_though_the_budget_has_no_room_for_another(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        server.finish = lambda batch: batch.update(status="in_progress")  # type: ignore[method-assign]
        with pytest.raises(StopRequested):
            run(label.run, prepared(tmp_path, server, budget_calls=10), tmp_path, lambda: bool(server.batches))
        del server.finish
        for batch in server.batches.values():
            server.finish(batch)
        run(label.run, prepared(tmp_path, server, budget_calls=1), tmp_path)  # lowered since
    assert len(server.batches) == 1 and len(events(tmp_path, "label")) == 5


def test_a_batch_that_the_server_refuses_ends_the_stage_with_its_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "too many tokens enqueued"}]}
        server.finish = lambda batch: batch.update(status="failed", errors=errors)  # type: ignore[method-assign]
        with pytest.raises(JudgeUnavailable, match="too many tokens enqueued"):
            run(label.run, prepared(tmp_path, server), tmp_path)
