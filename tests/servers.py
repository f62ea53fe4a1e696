"""The real PostgreSQL and Redis that some tests need: where they are, whether they answer, what to do if not.

Under CI=true a missing server is a failure; elsewhere the test is skipped and says why.
"""

from __future__ import annotations

import os
from urllib.parse import urlparse

import psycopg
import pytest
import redis

POSTGRES_URL = os.environ.get("CONCORD_TEST_DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/test")
REDIS_URL = os.environ.get("CONCORD_TEST_REDIS_URL", "redis://127.0.0.1:6379/5")


def what_is_missing() -> str:
    """Empty if both answer, else which does not and where it was looked for (without a password)."""
    missing = []
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError:
        missing.append(f"PostgreSQL at {_address(POSTGRES_URL)}")
    try:
        client = redis.Redis.from_url(REDIS_URL, socket_connect_timeout=3)
        client.ping()
        client.close()
    except redis.RedisError:
        missing.append(f"Redis at {_address(REDIS_URL)}")
    return " and ".join(missing)


def require() -> None:
    """Skip the test if a server is missing; fail it under CI."""
    if missing := what_is_missing():
        refuse(f"{missing} does not answer")


def refuse(reason: str) -> None:
    """Something that the test needs is not on this machine: a failure under CI, a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def on_postgres() -> bool:
    """Whether this very test session runs on a PostgreSQL database."""
    return os.environ.get("CONCORD_DATABASE_URL", "").startswith("postgres")


def _address(url: str) -> str:
    parts = urlparse(url)
    return f"{parts.hostname}:{parts.port}"
