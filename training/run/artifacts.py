"""Files of a stage, written atomically (temporary file, fsync, rename); a manifest with their hashes is written last.

The layout of a stage's folder:

    job.json        what to do (`Job`)
    files/          inputs exported for this stage (prompts.jsonl, pairs.jsonl, labels.jsonl ...)
    events.jsonl    the report stream
    checkpoint/     from which a stopped or killed stage resumes; removed at the end
    control.json    what may be changed while a label stage runs: pause, pace, budget
    batches.json    the batches that a label stage has sent to a Batch API
    failure.json    why it failed (`kind`, `cause`, `remedy`, `details`), if it did
    ...             what the stage made
    manifest.json   {"files": {relative path: sha256}}: its presence says that the stage is complete
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from training.errors import BadData
from training.text import storable

MANIFEST = "manifest.json"
_NOT_ARTIFACTS = {"job.json", "events.jsonl", "failure.json", "control.json", "batches.json", MANIFEST, "lock",
                  "output.log"}


class Job(BaseModel):
    """One stage to run: everything that its process needs to know.

    `settings` is the stage's own settings, `inputs` maps the role of an earlier stage ("sft", "sample", "label",
    "preference_model:toxicity", ...) to its folder, `files` maps a role ("prompts", "held_out", "pairs", "labels",
    "known_labels") to an exported JSONL file that takes precedence over the like file of an input. `runtime` holds what
    changes how fast or with which account a stage works but never its results, so that it is not part of the identity:
    {"judge": {"concurrency": 16, "api_key_env": "OPENAI_API_KEY"}}. It never holds a secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    identity: str
    settings: dict[str, Any]
    inputs: dict[str, Path] = {}
    files: dict[str, Path] = {}
    runtime: dict[str, Any] = {}


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    write_pieces(path, (text,))


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """`write_text` of pieces that are streamed; characters that cannot be stored become U+FFFD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(map(storable, pieces))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows one by one, never all in memory."""
    write_pieces(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


@contextmanager
def appearing_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, so that a process that is killed
    leaves no half of it.

    Raises:
        BadData: `out` exists, or cannot be made.
    """
    if out.exists():
        raise BadData(f"The folder '{out.name}' exists already.", "Give another folder, or delete that one.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise BadData(f"The folder '{out.name}' cannot be made: {error.strerror}.", "Give another folder.") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_checkpoint(temporary: Path, checkpoints: Path, step: int) -> None:
    """Make a folder written at `temporary` the newest checkpoint by one rename, then drop the older ones."""
    os.replace(temporary, checkpoints / f"step-{step:08d}")
    for older in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(older, ignore_errors=True)


ROLLOUTS = "rollouts"
"""The folder of a ppo stage with the answers of training; see `training.ppo.rollout_log`."""


def newest_checkpoint(checkpoints: Path) -> Path | None:
    return max(checkpoints.glob("step-*"), default=None)


def digest_of(value: Any) -> str:
    """The sha256 of a JSON value in canonical form, 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path) -> dict[str, str]:
    """Hash every file the stage made and write the manifest, the sign that the stage is complete."""
    files = {
        str(path.relative_to(folder)): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in _NOT_ARTIFACTS | {"files", "checkpoint"}
    }
    write_json(folder / MANIFEST, {"files": files})
    return files


def kept_policy(folder: Path, step: int) -> Path:
    """Where a PPO stage keeps the policy of an earlier step: `adapter/` or `model/` in this folder."""
    return folder / "kept" / f"step-{step:08d}"


CORNERS = "corners"


def corner_policy(folder: Path, principle: str) -> Path:
    """Where a PPO stage keeps a corner of a conditioned policy: `adapter/` in this folder."""
    return folder / CORNERS / principle


def is_complete(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()
