"""A small Hugging Face hub on this machine: datasets of a few files, served as huggingface_hub and datasets ask."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
DATE = "2026-01-02T03:04:05.000Z"


@dataclass
class FakeHub:
    """`address` is its HF_ENDPOINT; `files` are the files of its datasets by repository; those of `tokens` are private
    and need that token. `asked` lists what was asked for, with its status."""

    address: str = ""
    files: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        api = path.startswith("api/datasets/")
        parts = path.removeprefix("api/").removeprefix("datasets/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        files = self.served.files.get(name)
        token = self.served.tokens.get(name)
        if files is None or not path.startswith(("api/datasets/", "datasets/")) or (
                token and self.headers.get("Authorization") != f"Bearer {token}"):
            self._send(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif api:
            self._api(files, name, rest, body)
        elif len(rest) > 2 and rest[0] == "resolve" and "/".join(rest[2:]) in files:
            self._file(files["/".join(rest[2:])])
        else:
            self._send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"})

    def _api(self, files: Mapping[str, bytes], name: str, rest: list[str], body: bytes) -> None:
        if not rest or rest[0] == "revision":
            self._json({"id": name, "sha": COMMIT, "private": name in self.served.tokens, "tags": [], "downloads": 0,
                        "lastModified": DATE, "siblings": [{"rfilename": file} for file in files]})
        elif rest[0] == "tree":
            folder = "/".join(rest[2:])
            self._json([_entry(file, content) for file, content in files.items()
                        if not folder or file.startswith(f"{folder}/")])
        elif rest[0] == "paths-info":
            asked = json.loads(body)["paths"]
            self._json([_entry(file, files[file]) for file in asked if file in files])
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def _file(self, content: bytes) -> None:
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        chosen = self.headers.get("Range", "")
        if chosen.startswith("bytes="):
            first, _, last = chosen.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(len(content), int(last) + 1 if last else len(content))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            self._send(206, content[start:stop], headers)
        else:
            self._send(200, content, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.served.asked.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


def _entry(file: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": file, "size": len(content), "oid": _digest(content)[:40],
            "lastCommit": {"id": COMMIT, "title": "first", "date": DATE}}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
