"""`manage.py backup FILE.tar`: everything of this installation in one file."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.laptop.backups import BackupProblem, backup_write


class Command(BaseCommand):
    help = ("Write every row and every file of this installation to one tar file. It holds no secret key: judges' keys "
            "in it can be read only where the same CONCORD_SECRET_KEY or CONCORD_FIELD_KEY is set.")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            manifest = backup_write(options["file"])
        except BackupProblem as problem:
            raise CommandError(str(problem)) from problem
        size = options["file"].stat().st_size / 1e6
        self.stdout.write(f"{options['file']}: {sum(manifest['rows'].values()):,} rows, "
                          f"{sum(manifest['files'].values()):,} files, {size:,.1f} MB")
