"""An OpenAI-compatible server for tests: reads the question of `training.judges.prompt` and answers by a simple rule.

It gives log-probabilities of "A" and "B", leans a little towards Option A (so that the two orders differ), and counts
what it was asked.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LEAN = 0.2  # in favour of what is shown first
ROUGH = re.compile(r"\b(?:stupid|idiot|hate|kill|damn|hell|shit|fuck\w*|ass|bitch\w*|bastard)\b", re.IGNORECASE)
PARTS = re.compile(r"which response is (.*?)\?.*?=== Option A ===\n(.*?)\n\n=== Option B ===\n(.*?)\n\n=== Question",
                   re.IGNORECASE | re.DOTALL)


def shorter(text: str) -> float:
    return -len(text) / 100


def gentler(text: str) -> float:
    return -2.0 * len(ROUGH.findall(text))


def fuller(text: str) -> float:
    return len(set(text.lower().split())) / 20


RULES: tuple[tuple[str, Callable[[str], float]], ...] = (
    ("concise", shorter), ("toxic", gentler), ("", fuller),  # the first whose word is in the question
)


def preference(question: str) -> float:
    """The log-odds that Option A is the better one."""
    match = PARTS.search(question)
    assert match, "the question has another form than this server knows"
    asked, a, b = match.groups()
    score = next(rule for word, rule in RULES if word in asked.lower())
    return max(-6.0, min(6.0, score(a) - score(b))) + LEAN


class JudgeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.questions: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.refuse_with = 0  # an HTTP status to answer everything with; 0: answer

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = request["messages"][-1]["content"]
        self.server.questions[question] += 1
        self.server.keys.add(self.headers.get("Authorization", ""))
        if self.server.refuse_with:
            self._send(self.server.refuse_with, {"error": {"message": "no", "type": "refused", "code": None}})
        else:
            self._send(200, answer(request.get("model", "rule"), preference(question)))

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' output."""


def answer(model: str, log_odds: float) -> dict[str, Any]:
    """A chat completion of one token with its log-probabilities."""
    a = 1 / (1 + math.exp(-log_odds))
    top = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in (("A", a), ("B", 1 - a))]
    best = max(top, key=lambda entry: entry["logprob"])
    return {
        "id": "chatcmpl-test", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": best["token"]},
                     "logprobs": {"content": [best | {"top_logprobs": top}], "refusal": None}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101},
    }


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
