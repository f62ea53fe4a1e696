"""The data files of a run on the command line: made once, then a cache hit by the digest of their source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.config import Recipe
from training.data import data_files
from training.run.artifacts import digest_of, file_digest, read_json, read_jsonl, write_json


def bad_rows_notice(folder: Path) -> str:
    """How many rows of the data were left out and where their reasons are, or ""."""
    path = folder / data_files.BAD_ROWS
    count = sum(1 for _ in read_jsonl(path)) if path.is_file() else 0
    many = "at least " if count == data_files.MAX_BAD_ROWS else ""
    return f"data: {many}{count:,} row{'s were' if count > 1 else ' was'} left out, see {path}" if count else ""


def cached_data_files(recipe: Recipe, folder: Path) -> Mapping[data_files.FileRole, Path]:
    """The recipe's data files in `folder`: on a cache hit nothing is read again, and no hub dataset is streamed.

    Raises:
        BadData: see `data_files.prepare`.
    """
    source = Path(recipe.data.source)
    made_from = digest_of([recipe.data.model_dump(), recipe.seed, file_digest(source) if source.is_file() else ""])
    record = folder / "made.json"
    if record.is_file() and read_json(record)["settings"] == made_from:
        files: dict[data_files.FileRole, Path] = {
            role: folder / name for role, name in read_json(record)["files"].items()}
        data_files.check_files(recipe, files)
        return files
    record.unlink(missing_ok=True)
    files = data_files.prepare(recipe, folder)
    write_json(record, {"settings": made_from, "files": {role: path.name for role, path in files.items()}})
    return files
