"""A backup: one tar file with every row of the database and every file that rows name, and the way back.

Rows are Django's own serialization, so a backup of SQLite can be restored into PostgreSQL: that is also how a laptop's
work moves to a server. Sessions are left out, and so is the secret key: judges' keys in a backup stay sealed, and are
readable only where the same secret is set. Folders of base models (`var/models`) and the words by which rows are found
are left out, since they can be had again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from webapp.datasets.searching import words_restore
from webapp.labels.pair_search import words_restore as pair_words_restore

FORMAT = 1
MANIFEST, ROWS = "backup.json", "rows.jsonl"
LEFT_OUT = ("sessions", "contenttypes", "auth.Permission", "admin.LogEntry", "axes", "datasets.RowWords",
            "labels.PairWords")
NO_BACKUP = ("lock",)  # held by a stage that is at work


class BackupProblem(Exception):
    """Why there is no backup, or no restoring one, with the way out."""


def folders() -> dict[str, Path]:
    """The folders of files that rows name, by their names in the backup."""
    return {"artifacts": settings.ARTIFACTS, "uploads": settings.UPLOADS}


def backup_write(target: Path) -> dict[str, Any]:
    """Write a backup, which appears under its name when it is complete. Returns its manifest.

    Files that appear while it is written may be missing, and the stages that made them are then computed again.

    Raises:
        BackupProblem: the file exists, or its folder does not.
    """
    if target.exists():
        raise BackupProblem(f"{target.name} exists already: give another name, or delete it.")
    if not target.parent.is_dir():
        raise BackupProblem(f"The folder {target.parent} does not exist: create it first.")
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            manifest = _add_rows(archive)
            for name, folder in folders().items():
                manifest["files"][name] = _add_folder(archive, name, folder)
            _add_text(archive, MANIFEST, json.dumps(manifest, indent=1))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _add_rows(archive: tarfile.TarFile) -> dict[str, Any]:
    """All rows as they were at one moment."""
    with tempfile.NamedTemporaryFile("w+", suffix=".jsonl", encoding="utf-8") as rows, transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        counts = {model._meta.label: model._default_manager.count() for model in _models()}
        call_command("dumpdata", format="jsonl", natural_foreign=True, exclude=list(LEFT_OUT), stdout=rows)
        rows.flush()
        archive.add(rows.name, ROWS)
    return {"format": FORMAT, "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "database": connection.vendor,
            "migrations": _migrations(), "rows": {label: count for label, count in counts.items() if count},
            "files": {}}


def _add_folder(archive: tarfile.TarFile, name: str, folder: Path) -> int:
    """Add a folder's files; how many. A file that goes meanwhile is passed over."""
    count = 0
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and not path.is_symlink() and path.name not in NO_BACKUP:
            try:
                archive.add(path, f"{name}/{path.relative_to(folder)}", recursive=False)
            except FileNotFoundError:
                continue
            count += 1
    return count


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def backup_restore(source: Path, replace: bool = False) -> dict[str, Any]:
    """Restore a backup into this database, whose tables are made or brought up to date first. Returns its manifest.

    Args:
        replace: whether everything that is here may be deleted first.

    Raises:
        BackupProblem: the file is no backup or made by a newer version, or there is something here already.
    """
    with _opened(source) as archive:
        manifest = _manifest(archive)
        call_command("migrate", verbosity=0)
        if newer := sorted({*manifest["migrations"]} - {*_migrations()}):
            raise BackupProblem(f"This backup was made by a newer version of Concord (it knows {newer[0]}): update "
                                "Concord first.")
        if _is_used() and not replace:
            raise BackupProblem("There is data here already: give --replace to delete all of it first.")
        rows = archive.extractfile(ROWS)
        assert rows is not None
        with tempfile.NamedTemporaryFile("wb", suffix=".jsonl") as file:
            shutil.copyfileobj(rows, file)
            file.flush()
            with transaction.atomic():
                _delete_all()
                call_command("loaddata", file.name, verbosity=0)
        words_restore()
        pair_words_restore()
        for name, folder in folders().items():
            _replace_folder(archive, name, folder)
    return manifest


def _replace_folder(archive: tarfile.TarFile, name: str, folder: Path) -> None:
    """Put the backup's files in the place of a folder's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    for member in archive:
        if member.isfile() and member.name.startswith(f"{name}/"):
            archive.extract(member, temporary, filter="data")
    (temporary / name).mkdir(exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary / name, folder)
    temporary.rmdir()


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        archive = tarfile.open(source)  # noqa: SIM115  closed below
    except OSError as error:
        raise BackupProblem(f"{source} cannot be read: {error.strerror}.") from error
    except tarfile.TarError as error:
        raise BackupProblem(f"{source.name} is no backup of Concord: {error}.") from error
    with archive:
        yield archive


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    try:
        content = archive.extractfile(MANIFEST)
        assert content is not None
        manifest: dict[str, Any] = json.load(content)
        archive.getmember(ROWS)
    except (KeyError, AssertionError, ValueError) as error:
        raise BackupProblem("The file is no complete backup of Concord.") from error
    if manifest.get("format") != FORMAT:
        raise BackupProblem(f"The backup has format {manifest.get('format')}, and this version reads {FORMAT}: use the "
                            "version of Concord that made it.")
    return manifest


def _models() -> list[Any]:
    """The models whose rows are in a backup, those that others point at first."""
    return [model for model in apps.get_models()
            if model._meta.app_label not in LEFT_OUT and model._meta.label not in LEFT_OUT]


def _migrations() -> list[str]:
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in applied)


def _is_used() -> bool:
    return any(model._default_manager.exists() for model in _models())


def _delete_all() -> None:
    """Delete every row, without checking what points at it: all of it goes."""
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True)
              if model._meta.app_label not in ("contenttypes",) and model._meta.label != "auth.Permission"]
    with connection.cursor() as cursor, connection.constraint_checks_disabled():
        for table in tables:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
