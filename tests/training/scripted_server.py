"""A real HTTP server that speaks as much of the chat API as a test scripts: one function answers every request."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    status: int = 200
    body: Any = None  # JSON, or bytes sent as they are
    headers: dict[str, str] = {}


Script = Callable[[dict[str, Any], int], Reply]  # (request body, number of the request from 1) -> reply


class ScriptedServer(ThreadingHTTPServer):
    """`requests` holds the body of every request, `headers` its headers, by lower-case names."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def keys(self) -> list[str]:
        return [headers.get("authorization", "") for headers in self.headers]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            number = len(self.server.requests)
        reply = self.server.script(body, number)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def serving(script: Script) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def letters(p_first: float) -> Reply:
    """A completion whose log-probabilities give Option A the probability `p_first`."""
    top = [{"token": token, "logprob": math.log(max(p, 1e-9)), "bytes": None}
           for token, p in (("A", p_first), ("B", 1 - p_first))]
    token = {**max(top, key=lambda entry: entry["logprob"]), "top_logprobs": top}
    return completion(token["token"], logprobs={"content": [token], "refusal": None})


def completion(*texts: str, logprobs: Any = None) -> Reply:
    choices = [{"index": index, "finish_reason": "stop", "logprobs": logprobs,
                "message": {"role": "assistant", "content": text}} for index, text in enumerate(texts)]
    return Reply(body={"id": "x", "object": "chat.completion", "created": 0, "model": "judge-7b", "choices": choices,
                       "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}})


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    return Reply(status, {"error": {"message": message, "type": "error", "code": code}},
                 {name.replace("_", "-"): value for name, value in headers.items()})


def options(question: dict[str, Any]) -> tuple[str, str]:
    """What a request shows as Option A and Option B."""
    text = question["messages"][0]["content"]
    first, rest = text.split("=== Option A ===\n")[1].split("\n\n=== Option B ===\n")
    return first, rest.split("\n\n=== Question")[0]
