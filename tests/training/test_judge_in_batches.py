"""The Batch API: sent once, followed, collected, resumed after a kill, and what failed is sent again."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.training.scripted_server import letters
from tests.training.stage_folders import events, job, pair, run
from training.artifacts import read_json, read_jsonl
from training.errors import BudgetSpent, JudgeUnavailable, StopRequested
from training.feedback import batch_judge
from training.stages import label


class BatchServer(ThreadingHTTPServer):
    """Files and batches in memory. A batch is done the `looks`-th time that it is looked at."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks = 2
        self.fails: Callable[[str], bool] = lambda name: False

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            name = json.loads(line)["custom_id"]
            if self.fails(name):
                bad.append({"custom_id": name, "response": {"status_code": 500, "body": {"error": {"message": "oh"}}}})
            else:
                good.append({"custom_id": name, "response": {"status_code": 200, "body": letters(0.75).body}})
        for kind, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[kind] = f"file-{batch['id']}-{kind}"
                self.files[batch[kind]] = b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b"{torn"
        batch["status"] = "completed"


class _Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            [content] = re.findall(rb'filename="[^"]*"\r\n.*?\r\n\r\n(.*?)\r\n--', data, re.DOTALL)
            name = f"file-{len(self.server.files)}"
            self.server.files[name] = content
            return self._send({"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "x",
                               "purpose": "batch", "status": "processed"})
        request = json.loads(data)
        name = f"batch-{len(self.server.batches)}"
        self.server.batches[name] = {
            "id": name, "object": "batch", "endpoint": request["endpoint"], "input_file_id": request["input_file_id"],
            "completion_window": "24h", "status": "in_progress", "created_at": 0, "metadata": request["metadata"],
            "looks": 0}
        self._send(self.server.batches[name])

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/batches":
            return self._send({"object": "list", "data": list(self.server.batches.values()), "has_more": False})
        if path.startswith("/v1/batches/"):
            batch = self.server.batches[path.rpartition("/")[2]]
            batch["looks"] += 1
            if batch["looks"] >= self.server.looks and batch["status"] == "in_progress":
                self.server.finish(batch)
            return self._send(batch)
        self._send(self.server.files[path.split("/")[3]])

    def _send(self, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(batch_judge, "POLL", 0.01)
    server = BatchServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


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
    assert len(sent) == 10 and sent[0]["body"]["max_tokens"] == 1 and sent[0]["url"] == "/v1/chat/completions"


def test_what_failed_is_sent_again_and_what_always_fails_is_an_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        server.fails = lambda name: name == "3-1" or (name == "2-0" and len(server.batches) == 1)
        run(label.run, prepared(tmp_path, server), tmp_path)
    sizes = [len(server.files[batch["input_file_id"]].splitlines()) for batch in server.batches.values()]
    assert sizes == [10, 2, 1]
    errors = {row["pair"]: row["error"] for row in read_jsonl(tmp_path / "labels.jsonl") if row["error"]}
    assert list(errors) == [pair(3)["digest"]] and "unavailable" in errors[pair(3)["digest"]]


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


def test_a_batch_that_would_break_the_budget_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server, pytest.raises(BudgetSpent):
        run(label.run, prepared(tmp_path, server, budget_calls=9), tmp_path)
    assert not server.batches


def test_a_batch_that_the_server_refuses_ends_the_stage_with_its_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with batches(monkeypatch) as server:
        errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "too many tokens enqueued"}]}
        server.finish = lambda batch: batch.update(status="failed", errors=errors)  # type: ignore[method-assign]
        with pytest.raises(JudgeUnavailable, match="too many tokens enqueued"):
            run(label.run, prepared(tmp_path, server), tmp_path)
