"""docker-compose.yml: accepted by docker-compose, and each of its commands run against the real servers."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from celery import Celery

from tests import servers
from tests.processes import ROOT, clean_environment, free_port, running

pytestmark = pytest.mark.long

COMPOSE = ROOT / "docker-compose.yml"
SECRETS = {"CONCORD_SECRET_KEY": "k3yW1th-enough_different.characters+for:the~check/of=deployment!0123456789",
           "CONCORD_HOSTS": "concord.example.org", "POSTGRES_PASSWORD": "secret"}
WORKERS = ("io", "gpu", "jobs", "inference")


def docker_compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("docker-compose"):
        servers.refuse("docker-compose is not installed")
    return subprocess.run(["docker-compose", "--file", str(COMPOSE), *arguments], env=clean_environment(**environment),
                          capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """What docker-compose makes of the file: every variable and every anchor resolved."""
    resolved = docker_compose("config", **SECRETS)
    assert resolved.returncode == 0, resolved.stderr
    return yaml.safe_load(resolved.stdout)["services"]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a new database on the real server, migrated by nobody yet."""
    servers.require()
    name = f"concord_compose_{free_port()}"
    with psycopg.connect(servers.POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield servers.POSTGRES_URL.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(servers.POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def environment(services: dict[str, Any], database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the compose file, with the names of its containers replaced by this machine's servers."""
    as_composed = {key: str(value or "") for key, value in services["web"]["environment"].items()}
    here = {"CONCORD_DATABASE_URL": database, "CONCORD_REDIS_URL": servers.REDIS_URL,
            "CONCORD_VAR": str(tmp_path_factory.mktemp("data"))}
    assert here.keys() <= as_composed.keys()
    return clean_environment(**as_composed | here)


@pytest.fixture(scope="module")
def migrated(services: dict[str, Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(shlex.split(services["migrate"]["command"]), env=environment, cwd=ROOT, capture_output=True,
                          text=True, timeout=120)


def status_of(url: str, **headers: str) -> int:
    """The answer's status without following a redirect; 0 while nothing listens."""
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None
    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        return int(opener.open(urllib.request.Request(url, headers=headers), timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_docker_compose_accepts_the_file_with_its_secrets() -> None:
    accepted = docker_compose("config", "-q", **SECRETS)
    assert accepted.returncode == 0, accepted.stderr


@pytest.mark.parametrize("secret", SECRETS)
def test_docker_compose_refuses_to_start_without_a_secret_and_names_it(secret: str) -> None:
    refused = docker_compose("config", "-q", **{key: value for key, value in SECRETS.items() if key != secret})
    assert refused.returncode != 0
    assert "Missing mandatory value" in refused.stderr


def test_every_part_of_the_system_is_a_service_with_a_health_check(services: dict[str, Any]) -> None:
    expected = {"web", "worker-io", "worker-gpu", "worker-jobs", "worker-inference", "migrate", "postgres", "valkey"}
    assert set(services) == expected
    assert all("healthcheck" in services[name] for name in expected - {"migrate"})


def test_the_image_holds_every_folder_that_the_commands_need() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for needed in ("manage.py", "requirements.txt", "training", "webapp", "workers", "templates"):
        assert needed in dockerfile and f"!{needed}" in ignored


def test_the_command_of_migrate_ends_well(migrated: subprocess.CompletedProcess[str]) -> None:
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr


def test_the_command_of_web_serves_the_login_page_behind_a_proxy(
        services: dict[str, Any], environment: dict[str, str], migrated: object, tmp_path: Path) -> None:
    port = str(free_port())
    command = [port if word == "8000" else word for word in shlex.split(services["web"]["command"])]
    with running(command, environment, tmp_path / "web.log") as web:
        url, host = f"http://127.0.0.1:{port}/login/", SECRETS["CONCORD_HOSTS"]
        web.wait_until("the login page", lambda: status_of(url, Host=host, **{"X-Forwarded-Proto": "https"}) == 200, 60)
        assert status_of(url, Host=host) == 301, "plain http is sent to https"
        assert status_of(url, Host="evil.example", **{"X-Forwarded-Proto": "https"}) == 400
        assert web.popen.poll() is None


@pytest.mark.parametrize("queue", WORKERS)
def test_the_command_of_each_worker_answers(
        queue: str, services: dict[str, Any], environment: dict[str, str], migrated: object, tmp_path: Path) -> None:
    command = shlex.split(services[f"worker-{queue}"]["command"])
    client = Celery(broker=servers.REDIS_URL)
    with running(command, environment, tmp_path / "worker.log") as worker:
        def names_of_this_worker() -> list[str]:
            """Workers of tests that run at the same time share the broker, and answer too."""
            replies = client.control.ping(timeout=1)
            return [name for reply in replies for name in reply if name.startswith(f"{queue}@")]

        name, = worker.wait_until("an answer to a ping", names_of_this_worker, 60)
        queues = client.control.inspect(destination=[name], timeout=5).active_queues()
        assert [entry["name"] for entry in queues[name]] == [queue]


def test_djangos_check_for_deployment_finds_nothing(tmp_path: Path) -> None:
    production = clean_environment(CONCORD_ENV="production", CONCORD_VAR=str(tmp_path), **SECRETS)
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    checked = subprocess.run(command, env=production, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_production_does_not_start_without_its_secret_key(tmp_path: Path) -> None:
    without = clean_environment(CONCORD_ENV="production", CONCORD_VAR=str(tmp_path), CONCORD_HOSTS="a.example")
    command = [sys.executable, "manage.py", "check"]
    refused = subprocess.run(command, env=without, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0
    assert "CONCORD_SECRET_KEY" in refused.stderr
