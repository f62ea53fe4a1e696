"""Reading data sets, and making the data files that a run starts from. Torch-free: the import page uses it too.

`read_rows` (files), `read_hub` and `preview` hand back rows, good and bad; `files_from_rows` turns good rows, from
here or from a database, into `prompts`, `held_out`, `pairs` and `dialogues`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from training import config
from training.artifacts import digest_of, file_digest, write_jsonl
from training.errors import BadData, BadSettings
from training.hub import hub_records
from training.pipeline import pair_digest
from training.records import Record, read_records
from training.rows import BadRow, Columns, Format, Row, UnusableRow, recognise, to_row

__all__ = ["BadRow", "Format", "Row", "digests", "files_from_rows", "prepare", "preview", "read_hub", "read_rows",
           "recognise"]

MAX_ROWS = 1_000_000
FileRole = Literal["prompts", "held_out", "pairs", "dialogues"]


def read_rows(source: Path | IO[bytes], filename: str, columns: Columns | None = None,
              limit: int | None = None) -> Iterator[Row | BadRow]:
    """Rows of a file, good and bad, one at a time.

    Args:
        source: a path, or an open binary file such as an upload.
        filename: its ending tells how to read it, see `SUFFIXES`.
        columns: which column means what, e.g. {"prompt": "question"}; empty: recognised from names and first rows.
        limit: stop after this many rows, good and bad together.

    Raises:
        BadData: when the file as a whole cannot be read: unknown ending, not a gzip, no known column.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from _rows(read_records(file, filename), columns, limit)
    else:
        yield from _rows(read_records(source, filename), columns, limit)


def read_hub(name: str, split: str = "train", columns: Columns | None = None,
             limit: int | None = None) -> Iterator[Row | BadRow]:
    """Rows of a data set on the hub, streamed. Raises BadData when it cannot be had; see `training.hub`."""
    yield from _rows(enumerate(hub_records(name, split), 1), columns, limit)


def _rows(records: Iterable[Record], columns: Columns | None, limit: int | None) -> Iterator[Row | BadRow]:
    form: Format | None = None
    for number, record in records:
        if number > min(limit or MAX_ROWS, MAX_ROWS):
            return
        if isinstance(record, str):
            yield BadRow(number, record)
            continue
        if form is None:
            form = recognise(list(record), [record], columns)
        try:
            yield to_row(record, form)
        except UnusableRow as problem:
            yield BadRow(number, str(problem))


def preview(source: Path | IO[bytes], filename: str, columns: Columns | None = None,
            count: int = 20) -> tuple[Format, list[str], list[Row | BadRow]]:
    """The format, the file's columns and the first rows, for a person to look at before importing.

    Raises:
        BadData: as `read_rows`; also when the file has no rows.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return preview(file, filename, columns, count)
    records = []
    for record in read_records(source, filename):
        records.append(record)
        if len(records) == count:
            break
    first = next((body for _, body in records if not isinstance(body, str)), None)
    if first is None:
        raise BadData(f"'{filename}' has no row that can be read.", "Look at the file, then choose another.")
    return recognise(list(first), [first], columns), list(first), list(_rows(records, columns, None))


# The data files of a run ----------------------------------------------------------------------------------------------


def files_from_rows(rows: Iterable[Row], settings: config.Data, folder: Path) -> dict[FileRole, Path]:
    """Write the data files of a run, and nothing else, into `folder`.

    `prompts` and `held_out` share no prompt: the held-out ones are those of smallest hash, so that a row more or less
    moves few of them. `pairs` and `dialogues` leave out whatever answers a held-out prompt, and are there only if the
    rows make any. Which of `a` and `b` is the chosen response is drawn by the pair's hash: position tells nothing.

    Args:
        rows: usable rows; the first `settings.limit` of them are used.
        settings: `limit`, and `held_out`, which is lowered to a fifth of the prompts where there are few.

    Raises:
        BadData: when fewer than two different prompts are there.
    """
    used = list(itertools.islice(rows, settings.limit))
    by_digest = {digest_of(row.prompt): row.prompt for row in used}
    if len(by_digest) < 2:
        raise BadData(f"The data holds {len(by_digest)} usable prompts; at least 2 are needed.",
                      "Choose other data, or look at the rows that could not be read.")
    held_out = set(sorted(by_digest)[: min(settings.held_out, max(1, len(by_digest) // 5))])
    files: dict[FileRole, Path] = {"prompts": folder / "prompts.jsonl", "held_out": folder / "held_out.jsonl"}
    write_jsonl(files["prompts"], ({"prompt": by_digest[key]} for key in by_digest if key not in held_out))
    write_jsonl(files["held_out"], ({"prompt": by_digest[key]} for key in by_digest if key in held_out))
    training = [row for row in used if digest_of(row.prompt) not in held_out]
    pairs = {pair["digest"]: pair for pair in map(_pair, training) if pair}
    dialogues = [{"prompt": row.prompt, "response": row.chosen} for row in training if row.chosen]
    if pairs:
        files["pairs"] = folder / "pairs.jsonl"
        write_jsonl(files["pairs"], pairs.values())
    if dialogues:
        files["dialogues"] = folder / "dialogues.jsonl"
        write_jsonl(files["dialogues"], dialogues)
    return files


def _pair(row: Row) -> dict[str, Any] | None:
    if row.chosen is None or row.rejected is None:
        return None
    # The coin must not depend on which of the two was chosen, or the digest would give the choice away.
    first, second = sorted((row.chosen, row.rejected))
    swap = int(digest_of([row.prompt, first, second])[:8], 16) % 2 == 1
    a, b = (second, first) if swap else (first, second)
    return {"digest": pair_digest(row.prompt, a, b), "prompt": row.prompt, "a": a, "b": b,
            "human": 1.0 if a == row.chosen else 0.0}


def prepare(recipe: config.Recipe, folder: Path) -> dict[FileRole, Path]:
    """Read what a recipe names as its data and write the run's data files; see `files_from_rows`.

    Raises:
        BadData: when the source cannot be read, or lacks what the recipe asks of it.
    """
    settings = recipe.data
    if settings.source == config.DEMO_WORLD:
        files = _demo_files(recipe, folder)
    else:
        path = Path(settings.source)
        rows = (read_rows(path, path.name, settings.columns, None) if path.is_file()
                else read_hub(settings.source, settings.split, settings.columns))
        files = files_from_rows((row for row in rows if isinstance(row, Row)), settings, folder)
    check_files(recipe, files)
    return files


def check_files(recipe: config.Recipe, files: Mapping[FileRole, Path]) -> None:
    """Raise BadData if the recipe asks for pairs or dialogues and the data has none."""
    if recipe.sample.pairs == "dataset" and "pairs" not in files:
        raise BadData("The data holds no pairs of a chosen and a rejected response.",
                      "Choose other data, or set 'sample.pairs' to 'sampled'.")
    if recipe.sft.enabled and "dialogues" not in files:
        raise BadData("The data holds no responses to fine-tune on.", "Choose other data, or switch 'sft' off.")


def _demo_files(recipe: config.Recipe, folder: Path) -> dict[FileRole, Path]:
    from training.demo_world import language

    files: dict[FileRole, Path] = {"prompts": folder / "prompts.jsonl", "held_out": folder / "held_out.jsonl"}
    try:
        texts = {"prompts": language.prompts(recipe.data.limit, recipe.seed, "train"),
                 "held_out": language.prompts(recipe.data.held_out, recipe.seed, "held_out")}
    except ValueError as error:
        raise BadSettings(f"The demo world is too small: {error}.", "Lower 'data.limit' or 'data.held_out'.") from error
    for role, path in files.items():
        write_jsonl(path, ({"prompt": [{"role": "user", "content": text}]} for text in texts[role]))
    return files


def digests(files: Mapping[FileRole, Path]) -> dict[str, str]:
    """The digest of each file by role, as `pipeline.identities` takes them."""
    return {role: file_digest(path) for role, path in files.items()}
