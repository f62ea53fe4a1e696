"""The whole of Concord, running: `manage.py up` in a folder of its own, and a visitor who uses it over HTTP.

The end-to-end tests and the benchmarks both drive this and nothing else.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import psutil

from tests.processes import Process, T, clean_environment, free_port, wait_for

DEMO_USER, DEMO_PASSWORD = "demo", "concord-demo"


class Stack:
    """`manage.py up --seed-demo` on a free port. `settings` are more variables, such as PostgreSQL's address."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.var = Path(tempfile.mkdtemp(prefix="concord-"))  # short: a socket's path has 100 bytes
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = clean_environment(CONCORD_VAR=str(self.var), **(settings or {}))
        self.log = self.var / "up.log"
        self.process: Process | None = None

    def start(self, seconds: float = 90) -> Self:
        command = [sys.executable, "manage.py", "up", "--port", str(self.port), "--seed-demo"]
        self.process = Process(command, self.environment, self.log)
        self.process.wait_until("the login page", self.answers, seconds)
        return self

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/login/", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def processes(self, *words: str) -> list[psutil.Process]:
        """The living processes of this stack whose command line holds all the words, oldest first."""
        assert self.process is not None
        started = []
        for process in psutil.process_iter(["cmdline", "create_time", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if all(word in line for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE \
                    and self._is_ours(process):
                started.append(process)
        return sorted(started, key=lambda process: process.info["create_time"])

    def _is_ours(self, process: psutil.Process) -> bool:
        try:  # a stage's process is told nothing of the site; it works in a folder under `var`
            return process.environ().get("CONCORD_VAR") == str(self.var) \
                or any(word.startswith(str(self.var)) for word in process.cmdline())
        except psutil.Error:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.end()
            for process in self.processes():  # a training process outlives its worker by design
                with_it_gone(process)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.var, ignore_errors=True)


def with_it_gone(process: psutil.Process) -> None:
    """kill -9, and wait until it is gone."""
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        pass


@contextmanager
def stack(settings: dict[str, str] | None = None) -> Iterator[Stack]:
    running = Stack(settings)
    try:
        yield running.start()
    finally:
        keep = os.environ.get("CONCORD_KEEP_LOG")
        if keep and running.log.exists():
            shutil.copy(running.log, keep)
        running.remove()


class Visitor:
    """A person with a browser that knows forms and JSON only."""

    def __init__(self, url: str) -> None:
        # A pooled connection may be closed by a restarted server: each request opens its own.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=url, timeout=60, trust_env=False, limits=limits)

    def login(self, name: str = DEMO_USER, password: str = DEMO_PASSWORD) -> Self:
        answer = self.post("/login/", {"username": name, "password": password})
        assert answer.status_code == 302, f"the login was refused: {answer.status_code}"
        return self

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(path, params=query or None)

    def json(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def post(self, path: str, fields: dict[str, Any], page: str = "", **options: Any) -> httpx.Response:
        """Send a form as a browser does: with the token of the page that shows it."""
        token = csrf_token(self.get(page or path).text)
        headers = {"Referer": f"{self.client.base_url}{page or path}"}
        return self.client.post(path, data=fields | {"csrfmiddlewaretoken": token}, headers=headers, **options)

    def start_run(self, preset: str = "demo", **changes: Any) -> int:
        """Open the form with a preset, change some fields ("ppo.steps" is `ppo__steps`), start; the run's number."""
        shown = self.get("/runs/new/", preset=preset)
        fields = form_fields(shown.text, "recipe")
        fields |= {name.replace("__", "."): value for name, value in changes.items()} | {"start": "1"}
        sent = self.client.post("/runs/new/", data=fields, headers={"Referer": f"{self.client.base_url}/runs/new/"})
        assert sent.status_code == 302, f"the run was not started: {sent.status_code}\n{errors_of(sent.text)}"
        return int(sent.headers["location"].rstrip("/").rsplit("/", 1)[1])

    def series(self, run: int) -> dict[str, dict[str, list[float]]]:
        """Every series of a run at full detail, read from its CSV: {tag: {"step": [...], "value": [...]}}."""
        answer = self.get(f"/runs/{run}/metrics.csv")
        assert answer.status_code == 200, answer.status_code
        points_by_tag: dict[str, dict[str, list[float]]] = {}
        for row in csv.DictReader(io.StringIO(answer.text)):
            points = points_by_tag.setdefault(row["tag"], {"step": [], "value": []})
            points["step"].append(int(float(row["step"])))
            points["value"].append(float(row["value"]))
        return points_by_tag

    def status(self, run: int) -> str:
        """A run's status as its page says it: running (also while it waits), done, failed or cancelled."""
        answer = self.get(f"/runs/{run}/state/")
        assert answer.status_code == 200, answer.status_code
        match = re.search(r'run-status"><span class="badge[^"]*" data-status="([^"]+)">', answer.text)
        assert match, "the page shows no status"
        return {"succeeded": "done"}.get(match.group(1), match.group(1))

    def cookies(self) -> dict[str, str]:
        return dict(self.client.cookies)

    @property
    def host(self) -> str:
        return urlsplit(str(self.client.base_url)).netloc


class _FormReader(HTMLParser):
    """The fields of the form with this id or action, with the values that a browser would send."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.fields = form, {}
        self._inside, self._select, self._area = False, "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "form":
            self._inside = self.form in {values.get("id"), values.get("action")}
        if not self._inside:
            return
        name, kind = values.get("name", ""), values.get("type", "text")
        if tag == "input" and name and (kind not in {"checkbox", "radio"} or "checked" in values):
            self.fields.setdefault(name, []).append(values.get("value", "on" if kind == "checkbox" else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in values or self._select not in self.fields):
            self.fields[self._select] = [values.get("value", "")]
        elif tag == "textarea" and name:
            self._area = name
            self.fields[name] = [""]

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area][0] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""


def form_fields(page: str, form: str) -> dict[str, list[str]]:
    """What a browser would send if the form with this id or action were sent as it stands (no button pressed)."""
    reader = _FormReader(form)
    reader.feed(page)
    assert reader.fields, f"the page holds no form {form!r}"
    return reader.fields


def csrf_token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page) \
        or re.search(r'"X-CSRFToken": "([^"]+)"', page)
    assert match, "the page holds no form"
    return match.group(1)


def errors_of(page: str) -> str:
    """The messages that a refused form shows, for a failing test's sake."""
    errors = re.findall(r'class="error(?:s)?"[^>]*>(.*?)</(?:span|div)>', page, re.DOTALL)
    return "\n".join(text for part in errors if (text := re.sub(r"<[^>]+>|\s+", " ", part).strip()))


def wait_until(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """`wait_for` that takes a server which is being restarted for 'not yet', and names the last trouble it had."""
    trouble = ""

    def patient() -> T | None:
        nonlocal trouble
        try:
            result = look()
        except (httpx.HTTPError, AssertionError) as error:
            trouble = f"{type(error).__name__}: {error}"
            return None
        trouble = ""
        return result

    try:
        return wait_for(what, patient, seconds, every=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error} {trouble}") from None
