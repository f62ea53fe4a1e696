"""Runs a benchmark on SQLite in a temporary folder and on a new PostgreSQL database, which is dropped afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path


def measured_on_both(script: str, arguments: Sequence[str], postgres: str) -> dict[str, dict[str, float]]:
    """The figures by database, each from a process of its own that prints them as JSON in its last line.

    Args:
        script: the benchmark; called with `--here` and the arguments it measures the database of its environment.
        postgres: address of a database on the server; empty: only SQLite is measured.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = {"sqlite": _measured(script, arguments, Path(folder, "sqlite"), "")}
        if postgres:
            figures["postgresql"] = _on_postgres(script, arguments, Path(folder, "postgres"), postgres)
    return figures


def _measured(script: str, arguments: Sequence[str], folder: Path, database: str) -> dict[str, float]:
    environment = os.environ | {"CONCORD_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    environment.pop("CONCORD_DATABASE_URL", None)
    if database:
        environment["CONCORD_DATABASE_URL"] = database
    output = subprocess.run([sys.executable, script, "--here", *arguments], env=environment, stdout=subprocess.PIPE,
                            check=True, text=True).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


def _on_postgres(script: str, arguments: Sequence[str], folder: Path, postgres: str) -> dict[str, float]:
    import psycopg

    name = f"concord_{Path(script).stem}_{os.getpid()}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            return _measured(script, arguments, folder, postgres.rsplit("/", 1)[0] + f"/{name}")
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
