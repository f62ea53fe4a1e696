"""Settings that are misspelt stop Concord from starting, with words; nothing falls back to something weaker."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.processes import ROOT, clean_environment
from webapp.database_url import database_settings

pytestmark = pytest.mark.once  # it starts what it needs itself, whatever this pass runs on

VAR = Path("/nowhere")


def start(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "import webapp.settings as s; print(s.PRODUCTION, s.VAR)"],
                          env=clean_environment(CONCORD_VAR=str(tmp_path / "var"), **variables), cwd=ROOT,
                          capture_output=True, text=True)


@pytest.mark.parametrize("variables", [
    {"CONCORD_ENV": "prod"}, {"CONCORD_ENV": "Production"}, {"CONCORD_ENV": " production"},
    {"CONCORD_DATABASE_URL": "mysql://x"}, {"CONCORD_DATABASE_URL": "postgrsql://u@h/d"},
    {"CONCORD_DATABASE_URL": "concord.sqlite3"}, {"CONCORD_DATABASE_URL": "postgresql://u:p@h:port/d"},
    {"CONCORD_DATABASE_URL": "postgresql://u:p@h:70000/d"},
    {"CONCORD_TRUSTED_PROXIES": "the proxy"}, {"CONCORD_UPLOAD_LIMIT_MB": "much"}, {"CONCORD_UPLOAD_LIMIT_MB": "-5"},
    {"CONCORD_UPLOAD_LIMIT_MB": "9" * 5000}, {"CONCORD_LEASE_SECONDS": "0"}, {"CONCORD_LEASE_SECONDS": "１５"},
    {"CONCORD_ENVIRONMENT": "production"}, {"CONCORD_HOST": "a.example"}, {"concord_env": "production"},
    {"CONCORD_DATABASE": "postgresql://u@h/d"}, {"CONCORD_DATABSE_URL": "x"}, {"CONCORD_TRUSTED_PROXY": "10.0.0.1"},
    {"CONCORD_SECRET": "x"}, {"Concord_Judge_Key_Hosts": "A=b"},
    {"CONCORD_JUDGE_KEY_HOST": "A=b"}, {"CONCORD_JUDGE_HOSTS": "x"}, {"CONCORD_SECRET_KEY_FILE": "/run/secret"},
], ids=lambda variables: " ".join(f"{key}={value}" for key, value in variables.items()))
def test_a_misspelt_setting_names_itself_and_what_it_takes(tmp_path: Path, variables: dict[str, str]) -> None:
    ended = start(tmp_path, **variables)
    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("django.core.exceptions.ImproperlyConfigured") and next(iter(variables)) in last
    assert " takes " in last


def test_nothing_set_is_a_laptop(tmp_path: Path) -> None:
    assert start(tmp_path).stdout.startswith("False")
    assert start(tmp_path, CONCORD_ENV="").stdout.startswith("False")
    blank = start(tmp_path, CONCORD_ENV=" ", CONCORD_DATABASE_URL="", CONCORD_UPLOADS="", CONCORD_ARTIFACTS=" ",
                  CONCORD_UPLOAD_LIMIT_MB="", CONCORD_REDIS_URL="", CONCORD_SECRET_KEY=" ")
    assert blank.stdout.split() == ["False", str(tmp_path / "var")], blank.stderr


def test_an_empty_name_of_the_folder_is_not_the_working_folder() -> None:
    code = "from webapp import environment as env; print(env.text('CONCORD_VAR', 'd'))"
    run = subprocess.run([sys.executable, "-c", code], env=clean_environment(CONCORD_VAR=""), cwd=ROOT,
                         capture_output=True, text=True)
    assert run.stdout.strip() == "d"


def test_production_takes_no_blank_secret(tmp_path: Path) -> None:
    ended = start(tmp_path, CONCORD_ENV="production", CONCORD_SECRET_KEY=" ")
    assert "Set the environment variable CONCORD_SECRET_KEY" in ended.stderr


def test_names_that_are_free_stay_free(tmp_path: Path) -> None:
    ended = start(tmp_path, CONCORD_JUDGE_LAB_KEY="k", CONCORD_TEST_VAR="x", CONCORD_PORT="80", CONCORDIA="x",
                  CONCORD_ENV_FILE="x", CONCORD_JUDGE_KEY_HOSTS_KEY="k", CONCORD_KEEP_LOG="1", CONCORD_E="1")
    assert ended.returncode == 0, ended.stderr


def test_a_folder_that_everybody_writes_into_keeps_its_mode_and_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    ended = start(tmp_path, CONCORD_UPLOADS=str(shared))
    assert "everybody's" in ended.stderr and "CONCORD_UPLOADS" in ended.stderr
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_a_database_file_outside_of_the_folder_is_its_owners_too(tmp_path: Path) -> None:
    file = tmp_path / "open.sqlite3"
    file.touch(0o644)
    file.chmod(0o644)
    for name in ("open", "new"):
        assert start(tmp_path, CONCORD_DATABASE_URL=f"sqlite:///{tmp_path}/{name}.sqlite3").returncode == 0
        assert stat.S_IMODE((tmp_path / f"{name}.sqlite3").stat().st_mode) & 0o007 == 0


def test_the_folder_of_everything_is_its_owners_alone_also_when_it_was_open_before(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    assert start(tmp_path, CONCORD_UPLOADS=str(tmp_path / "elsewhere")).returncode == 0
    for private in (folder, tmp_path / "elsewhere", folder / "artifacts"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_every_option_of_the_address_reaches_the_connection() -> None:
    url = "postgresql://us%40er:p%2Fw@db.lan:5433/concord?sslmode=verify-full&connect_timeout=5"
    settings = database_settings(url, VAR)
    assert {name: settings[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "concord", "USER": "us@er", "PASSWORD": "p/w", "HOST": "db.lan", "PORT": "5433"}
    assert settings["OPTIONS"] == {"sslmode": "verify-full", "connect_timeout": "5"}


def test_several_hosts_are_handed_to_libpq_as_they_are() -> None:
    url = " POSTGRESQL://u:p@a.lan:5432,b.lan:5433/concord?target_session_attrs=read-write\n"
    settings = database_settings(url, VAR)
    assert (settings["HOST"], settings["PORT"], settings["NAME"]) == ("a.lan,b.lan", "5432,5433", "concord")
    assert database_settings("postgres://u@[::1],b.lan/concord", VAR)["HOST"] == "::1,b.lan"


def test_a_server_on_a_unix_socket_is_named_as_psql_names_it() -> None:
    assert database_settings("postgresql:///concord?host=/run/postgresql", VAR)["HOST"] == "/run/postgresql"


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/d?sslmod=require", "postgresql://u:secret@h", "oracle://u:secret@h/d",
                                 "postgresql://u:secret@h:70x/d", "sqlite://file.sqlite3", "sqlite:///",
                                 "postgresql://u:secret/w@h:5432/d", "postgresql://u:p%secret@h/d", "postgresql://u:secret@[::1/d",
                                 "postgresql://u:secret@h:0/d",
                                 "sqlite:///:memory:", "sqlite:///a.sqlite3?mode=secret", "sqlite:", "://u:secret@h/d",
                                 "postgresql:u:secret@h/d", "host=h password=secret dbname=d"])
def test_an_address_that_is_not_understood_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        database_settings(url, VAR)
    assert "secret" not in str(refusal.value) and "CONCORD_DATABASE_URL" in str(refusal.value)


def test_sqlite_takes_a_file_of_its_own(tmp_path: Path) -> None:
    assert database_settings("", tmp_path)["NAME"] == tmp_path / "concord.sqlite3"
    assert database_settings("sqlite:////srv/team.sqlite3", tmp_path)["NAME"] == Path("/srv/team.sqlite3")
