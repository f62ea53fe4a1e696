"""Converts CONCORD_DATABASE_URL to Django's settings; an address that cannot be parsed is refused.

PostgreSQL addresses are read by libpq's own parser, so that every option of the query (`?sslmode=verify-full`,
`?connect_timeout=5`) means what it means to psql, and an option that libpq does not know is an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured

from webapp.private_folder import private_file

_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
_FORMS = "It takes postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///FILE; without it, SQLite under CONCORD_VAR."


def database_settings(url: str, var: Path) -> dict[str, Any]:
    """Settings of the default database; SQLite in the folder `var` where the address is empty.

    Raises:
        ImproperlyConfigured: the scheme is not one of PostgreSQL's or sqlite, or libpq refuses the address. The message
            holds no password.
    """
    url = url.strip()
    scheme = url.partition("://")[0].lower() if url else "sqlite"
    if scheme in {"postgres", "postgresql"}:
        return _postgresql(f"{scheme}{url[len(scheme):]}")
    if scheme == "sqlite":
        return _sqlite(private_file(_sqlite_file(url)) if url else var / "concord.sqlite3", var)
    start = re.split("[^A-Za-z0-9+-]", url)[0][:40]
    raise ImproperlyConfigured(f"CONCORD_DATABASE_URL begins with {start!r}, which is not a database that Concord runs "
                               f"on. {_FORMS}")


def _postgresql(url: str) -> dict[str, Any]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        reason = _reason(str(error), url)
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL is not understood{reason}. {_FORMS}") from None
    if not parts.get("dbname"):
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL names no database. {_FORMS}")
    ports = str(parts.get("port") or "").split(",")  # libpq takes several hosts, each with a port or without one
    if not all(port == "" or port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536 for port in ports):
        raise ImproperlyConfigured("CONCORD_DATABASE_URL has a port that is not a number from 1 to 65535. In a "
                                   f"password, / is written %2F, : is %3A, @ is %40, # is %23, and % is %25. {_FORMS}")
    settings: dict[str, Any] = {name: str(parts.pop(key, "")) for key, name in _NAMES.items()}
    return {"ENGINE": "django.db.backends.postgresql", **settings, "OPTIONS": parts, "CONN_HEALTH_CHECKS": True}


def _reason(text: str, url: str) -> str:
    """libpq's message about an address, unless it quotes a part that may belong to the password: anything between the
    user's name and the last @."""
    after_user = url.partition("://")[2].partition(":")[2]
    secret = after_user.rpartition("@")[0] or after_user.partition("/")[0]
    pieces = [piece for piece in re.split(r"[^A-Za-z0-9]+", f"{secret} {unquote(secret)}") if piece]
    return "" if any(piece in text for piece in pieces) else f": {text.strip().rstrip('.')}"


def _sqlite_file(url: str) -> Path:
    """The file of `sqlite:///relative.sqlite3` or `sqlite:////absolute.sqlite3`."""
    host, slash, name = url.partition("://")[2].partition("/")
    path = unquote(name)
    if host or not slash or not path.strip("/") or "?" in name or path == ":memory:" or "\0" in path:
        raise ImproperlyConfigured("CONCORD_DATABASE_URL begins with sqlite: such an address names a file and nothing "
                                   f"else. {_FORMS}")
    return Path(path).absolute()


def _sqlite(file: Path, var: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",  # a writer waits at BEGIN, and does not fail half-way with "locked"
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
        },
        "TEST": {"NAME": var / "test.sqlite3"},  # a file: worker processes and threads of the tests share it
    }
