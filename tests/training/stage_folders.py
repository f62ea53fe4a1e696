"""Stages by hand: a job, its folder and the events that came out, for tests that run one stage in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.run.artifacts import Job, read_jsonl, write_json, write_jsonl
from training.run.reporting import EventFile


def pair(number: int, a: str = "", b: str = "", human: float | None = None) -> dict[str, Any]:
    return {"digest": f"{number:032x}", "prompt": [{"role": "user", "content": f"Question {number}?"}],
            "a": a or f"Answer {number}.", "b": b or f"Another answer {number}.", "human": human}


def job(kind: str, folder: Path, settings: dict[str, Any], *, inputs: dict[str, Path] | None = None,
        runtime: dict[str, Any] | None = None, **files: list[dict[str, Any]]) -> Job:
    """A job whose data files are written beside it."""
    paths = {role: folder / "files" / f"{role}.jsonl" for role in files}
    for role, rows in files.items():
        write_jsonl(paths[role], rows)
    made = Job(name=kind, kind=kind, identity="0" * 64, settings=settings, inputs=inputs or {}, files=paths,
               runtime=runtime or {})
    write_json(folder / "job.json", made.model_dump(mode="json"))
    return made


def run(stage: Callable[[Job, Path, EventFile], None], made: Job, folder: Path,
        should_stop: Callable[[], bool] = lambda: False) -> list[dict[str, Any]]:
    """Run a stage and return its events, those of earlier attempts included; they are written even if it raises."""
    reporter = EventFile(folder / "events.jsonl", should_stop)
    try:
        stage(made, folder, reporter)
    finally:
        reporter.close()
    return events(folder)


def events(folder: Path, kind: str = "") -> list[dict[str, Any]]:
    return [event for event in read_jsonl(folder / "events.jsonl") if not kind or event["kind"] == kind]
