"""The database that CONCORD_DATABASE_URL names, as Django's settings; an address that is not understood is refused.

PostgreSQL addresses are read by libpq's own parser, so that every option of the query (`?sslmode=verify-full`,
`?connect_timeout=5`) means what it means to psql, and an option that libpq does not know is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
_FORMS = "It takes postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///FILE; without it, SQLite under CONCORD_VAR."


def database_settings(url: str, var: Path) -> dict[str, Any]:
    """Settings of the default database; SQLite in the folder `var` where the address is empty.

    Raises:
        ImproperlyConfigured: the scheme is not one of PostgreSQL's or sqlite, or libpq refuses the address. The message
            holds no password.
    """
    scheme = urlsplit(url).scheme if url else "sqlite"
    if scheme in {"postgres", "postgresql"}:
        return _postgresql(url)
    if scheme == "sqlite":
        return _sqlite(_sqlite_file(url) if url else var / "concord.sqlite3", var)
    raise ImproperlyConfigured(f"CONCORD_DATABASE_URL begins with {scheme or url.split(':')[0][:40]!r}, which is no "
                               f"database that Concord runs on. {_FORMS}")


def _postgresql(url: str) -> dict[str, Any]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL is not understood: {_without_password(str(error), url)}. "
                                   f"{_FORMS}") from None
    if not parts.get("dbname"):
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL names no database. {_FORMS}")
    port = str(parts.get("port") or "")
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL has the port {port[:20]!r}, which is none. {_FORMS}")
    settings: dict[str, Any] = {name: str(parts.pop(key, "")) for key, name in _NAMES.items()}
    return {"ENGINE": "django.db.backends.postgresql", **settings, "OPTIONS": parts, "CONN_HEALTH_CHECKS": True}


def _without_password(text: str, url: str) -> str:
    password = urlsplit(url).password
    for secret in {password, unquote(password)} if password else ():
        text = text.replace(secret, "***")
    return text.strip().rstrip(".")


def _sqlite_file(url: str) -> Path:
    """The file of `sqlite:///relative.sqlite3` or `sqlite:////absolute.sqlite3`."""
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or parts.query or not path:
        raise ImproperlyConfigured(f"CONCORD_DATABASE_URL is {url!r}: a SQLite address names a file and nothing else. "
                                   f"{_FORMS}")
    return Path(path).absolute()


def _sqlite(file: Path, var: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",  # a writer waits at BEGIN, and never fails half-way with "locked"
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
        },
        "TEST": {"NAME": var / "test.sqlite3"},  # a file: worker processes and threads of the tests share it
    }
