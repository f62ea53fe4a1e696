"""`manage.py restore FILE.tar`: a backup in the place of what is here."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.laptop.backups import BackupProblem, backup_restore


class Command(BaseCommand):
    help = "Restore a backup, also one of SQLite into PostgreSQL. Stop Concord first; log in again afterwards."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--replace", action="store_true", help="delete everything that is here first")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            manifest = backup_restore(options["file"], options["replace"])
        except BackupProblem as problem:
            raise CommandError(str(problem)) from problem
        self.stdout.write(f"restored: {sum(manifest['rows'].values()):,} rows, "
                          f"{sum(manifest['files'].values()):,} files, made at {manifest['made_at']}")
