"""A real HTTP server that speaks the Batch API: files and batches in memory, each request answered by a script."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.training.scripted_server import Reply, letters
from training.judges import batch_judge


class BatchServer(ThreadingHTTPServer):
    """A batch is done the `looks`-th time that it is looked at. `script` is given the request and its name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        self.looks = 2
        self.script: Callable[[dict[str, Any], str], Reply] = lambda body, name: letters(0.75)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of all requests of all batches."""
        return [row["body"] for batch in self.batches.values() for row in self.rows(batch)]

    def rows(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]

    def finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for row in self.rows(batch):
            reply = self.script(row["body"], row["custom_id"])
            answer = {"status_code": reply.status, "body": reply.body}
            (good if reply.status == 200 else bad).append({"custom_id": row["custom_id"], "response": answer})
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
        self.server.keys.append(self.headers.get("Authorization", ""))
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
    """A BatchServer that answers while the block runs; judges look at their batches a hundred times a second."""
    monkeypatch.setattr(batch_judge, "POLL", 0.01)
    server = BatchServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
