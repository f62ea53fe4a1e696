"""Making the data files that a run starts from, out of rows of a file, of the hub or of a database. Torch-free.

`read_rows` (files), `read_hub` and `preview` of `training.data.reading` return rows, good and bad; `files_from_rows`
turns good rows into `prompts`, `held_out`, `pairs` and `dialogues`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from training import config
from training.config.hub_names import is_hub_id
from training.data.ratings import Ratings, in_other_order
from training.data.reading import preview, read_hub, read_rows
from training.data.rows import BadRow, Format, Row, recognise
from training.data.shipped import everyday_rows
from training.errors import BadData, BadSettings
from training.run.artifacts import digest_of, file_digest, read_jsonl, write_jsonl
from training.run.pipeline import pair_digest

__all__ = ["BadRow", "Format", "Row", "digests", "files_from_rows", "prepare", "preview", "read_hub", "read_rows",
           "recognise"]

BAD_ROWS, MAX_BAD_ROWS = "bad_rows.jsonl", 10_000  # beside the data files: which rows were left out and why
FileRole = Literal["prompts", "held_out", "pairs", "dialogues", "ratings", "references"]


# The data files of a run ----------------------------------------------------------------------------------------------


def files_from_rows(rows: Iterable[Row], settings: config.Data, folder: Path) -> dict[FileRole, Path]:
    """Write the data files of a run, and nothing else, into `folder`.

    `prompts` and `held_out` share no prompt: the held-out ones are those of smallest hash, so that adding or removing a
    row moves few of them. `pairs` and `dialogues` leave out the answers to held-out prompts. They are written only if
    there are any, and so are `ratings`: of the pairs that are rated, by aspect, the ratings of `a` and `b`; and
    `references`: the reference answers of prompts, held-out ones too, the first one of a prompt with several. Which of
    `a` and `b` is the chosen response is drawn by the pair's hash, so that the position carries no information.

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
    held_out = held_out_of(by_digest, settings.held_out)
    files: dict[FileRole, Path] = {"prompts": folder / "prompts.jsonl", "held_out": folder / "held_out.jsonl"}
    write_jsonl(files["prompts"], ({"prompt": by_digest[key]} for key in by_digest if key not in held_out))
    write_jsonl(files["held_out"], ({"prompt": by_digest[key]} for key in by_digest if key in held_out))
    training = [row for row in used if digest_of(row.prompt) not in held_out]
    pairs: dict[str, dict[str, Any]] = {}
    ratings: dict[str, Ratings] = {}
    for row in training:
        pair = pair_in(row)
        if pair is None:
            continue
        if pair["human"] is not None or pair["digest"] not in pairs:  # a choice outlives a pair without one
            pairs[pair["digest"]] = pair
        if rated := ratings_in(row, pair):
            ratings[pair["digest"]] = rated
    dialogues = _dialogues(training)
    if pairs:
        files["pairs"] = folder / "pairs.jsonl"
        write_jsonl(files["pairs"], pairs.values())
    if ratings:
        files["ratings"] = folder / "ratings.jsonl"
        write_jsonl(files["ratings"], ({"pair": digest, "ratings": ratings[digest]} for digest in ratings))
    if dialogues:
        files["dialogues"] = folder / "dialogues.jsonl"
        write_jsonl(files["dialogues"], dialogues)
    if references := _references(used):
        files["references"] = folder / "references.jsonl"
        write_jsonl(files["references"], ({"prompt": key, "reference": references[key]} for key in references))
    return files


def held_out_of(digests: Collection[str], most: int) -> set[str]:
    """Which prompts of a run are held out: those of smallest digest, at most a fifth of them and at least one."""
    return set(sorted(digests)[: min(most, max(1, len(digests) // 5))])


def _references(rows: Iterable[Row]) -> dict[str, str]:
    """By the digest of a prompt, its reference answer."""
    references: dict[str, str] = {}
    for row in rows:
        if row.reference:
            references.setdefault(digest_of(row.prompt), row.reference)
    return references


def _dialogues(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What to fine-tune on: responses that were chosen or stand alone, each once; never one of an undecided pair."""
    answered = {(digest_of(row.prompt), row.chosen): row for row in rows if row.chosen and not row.undecided}
    return [{"prompt": row.prompt, "response": row.chosen} for row in answered.values()]


def pair_in(row: Row) -> dict[str, Any] | None:
    """The pair that a run makes of a row: its digest, prompt, responses `a` and `b`, and the person's choice in the
    data (1 for `a`, 0 for `b`); None for a row without two responses."""
    if row.chosen is None or row.rejected is None:
        return None
    # The draw must not depend on which of the two was chosen, or the digest would reveal the choice.
    first, second = sorted((row.chosen, row.rejected))
    swap = int(digest_of([row.prompt, first, second])[:8], 16) % 2 == 1
    a, b = (second, first) if swap else (first, second)
    return {"digest": pair_digest(row.prompt, a, b), "prompt": row.prompt, "a": a, "b": b,
            "human": None if row.undecided else 1.0 if a == row.chosen else 0.0}


def ratings_in(row: Row, pair: Mapping[str, Any]) -> Ratings | None:
    """The row's ratings in the order of its pair: by aspect, that of `a` and that of `b`."""
    return row.ratings if pair["a"] == row.chosen else in_other_order(row.ratings)


def prepare(recipe: config.Recipe, folder: Path) -> dict[FileRole, Path]:
    """Read what a recipe names as its data and write the run's data files; see `files_from_rows`.

    Raises:
        BadData: when the source cannot be read, or lacks what the recipe asks of it.
    """
    settings = recipe.data
    if settings.source == config.DEMO_WORLD:
        files = _demo_files(recipe, folder)
    elif settings.source == config.EVERYDAY_PROMPTS:
        files = files_from_rows(everyday_rows(), settings, folder)
    else:
        path = Path(settings.source)
        if not path.is_file() and not is_hub_id(settings.source):
            what = "is a folder" if path.is_dir() else "is neither a file here nor the name of a dataset on the hub"
            raise BadData(f"'data.source' {what}: '{settings.source}'.",
                          "Give the path of a file, or a name such as 'Anthropic/hh-rlhf'.")
        rows = (read_rows(path, path.name, settings.columns, None) if path.is_file()
                else read_hub(settings.source, settings.split, settings.columns))
        bad: list[BadRow] = []
        try:
            files = files_from_rows(_good_rows(rows, bad), settings, folder)
        except BadData as problem:
            first = f" Row {bad[0].number}: {bad[0].reason}." if bad else ""
            folder_too = f" For a file in the folder '{path}' here, give the file's path." if path.is_dir() else ""
            raise BadData(problem.cause + first, problem.remedy + folder_too) from problem
        write_jsonl(folder / BAD_ROWS, ({"row": row.number, "reason": row.reason} for row in bad))
    check_files(recipe, files)
    return files


def _good_rows(rows: Iterable[Row | BadRow], bad: list[BadRow]) -> Iterator[Row]:
    """The good rows; the first bad ones go into `bad`."""
    for row in rows:
        if isinstance(row, Row):
            yield row
        elif len(bad) < MAX_BAD_ROWS:
            bad.append(row)


def check_files(recipe: config.Recipe, files: Mapping[FileRole, Path]) -> None:
    """Raise BadData if the recipe asks for pairs, dialogues, ratings or reference answers and the data has none."""
    if recipe.sample.pairs == "dataset" and "pairs" not in files:
        raise BadData("The data holds no pairs of responses.",
                      "Choose other data, or set 'sample.pairs' to 'sampled'.")
    if recipe.sft.enabled and "dialogues" not in files:
        raise BadData("The data holds no responses to fine-tune on.", "Choose other data, or switch 'sft' off.")
    if recipe.rated:
        rows = read_jsonl(files["ratings"]) if "ratings" in files else ()
        check_aspects(recipe, {aspect for row in rows for aspect in row["ratings"]})
    if recipe.referenced:
        answered = _rows_in(files["references"]) if "references" in files else 0
        check_references(recipe, answered, _rows_in(files["prompts"]) + _rows_in(files["held_out"]))


def _rows_in(path: Path) -> int:
    return sum(1 for _ in read_jsonl(path))


def check_references(recipe: config.Recipe, answered: int, total: int, what: str = "prompts") -> None:
    """Raise BadData if a measure of the recipe needs reference answers and fewer than half of the prompts have one.

    Args:
        answered: of the `total`, those that have one.
        what: what is counted.
    """
    if recipe.referenced and 2 * answered < max(total, 1):
        there = f"has one for {answered:,} of {total:,} {what}" if answered else "holds none"
        raise BadData(
            f"The measure of {', '.join(recipe.referenced)} has 'answer_from: data', which needs reference answers; "
            f"the data {there}.",
            "Choose data with them, say which column holds them (reference: answer in 'data.columns', or Reference "
            "answer when a file is imported), or give the measure one answer for all prompts.")


def check_aspects(recipe: config.Recipe, aspects: Collection[str]) -> None:
    """Raise BadData if the recipe labels a principle by an aspect that none of the data's pairs is rated on."""
    for name, choice in recipe.rated.items():
        if choice.removeprefix("-") not in aspects:
            there = f"it is rated on {', '.join(sorted(aspects))}" if aspects else "it holds no ratings"
            raise BadData(f"'data.ratings' labels {name} by '{choice.removeprefix('-')}', and the data is not rated on "
                          f"it: {there}.", "Name one of its aspects, or set 'preference_model.labels_from' to ai.")


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
