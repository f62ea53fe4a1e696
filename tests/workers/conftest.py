"""Stages that workers run in tests: scripted ones, and runs that stand just before a stage."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection

from training.config import Recipe
from training.run.artifacts import write_json, write_jsonl, write_manifest
from training.run.pipeline import pair_digest
from webapp.accounts.models import Team, User
from webapp.runs.models import Run, Stage
from webapp.runs.scheduling import advance
from webapp.runs.series.curves import read_series
from webapp.runs.services import run_create
from workers import supervisor
from workers.leases import claim
from workers.preparing import Prepared

SCRIPT = (sys.executable, "-m", "tests.workers.scripted_stage")
PRINCIPLES = ("toxicity", "conciseness")


def small_recipe(**changes: Any) -> Recipe:
    recipe: dict[str, Any] = {
        "name": "small", "data": {"limit": 40, "held_out": 10}, "principles": [{"name": name} for name in PRINCIPLES],
        "judge": {"max_pairs": 20}, "sample": {"count": 20}}
    return Recipe.model_validate(recipe | changes)


def run_before(kind: str, team: Team, user: User, **changes: Any) -> Run:
    """A run of which every stage before those of this kind is done."""
    run = run_create(team=team, user=user, recipe=small_recipe(**changes), dataset=None)
    for use in run.uses.select_related("stage"):
        if use.stage.kind == kind:
            break
        if use.stage.status != Stage.Status.SUCCEEDED:
            complete(use.stage)
    advance(run=run)
    return run


def complete(stage: Stage) -> None:
    """As if the stage had been computed."""
    if stage.kind == "sample":
        write_pairs(stage.folder)
    if stage.kind == "label":
        write_jsonl(stage.folder / "labels.jsonl", [])
    write_manifest(stage.folder) if stage.folder.is_dir() else write_json(stage.folder / "manifest.json", {})
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.SUCCEEDED)


def write_pairs(folder: Path, count: int = 20) -> None:
    rows = []
    for number in range(count):
        prompt = [{"role": "user", "content": f"What is the capital of Avela, number {number}?"}]
        a, b = "Norr.", "What a stupid question. Well, let me think about that. Norr."
        rows.append({"digest": pair_digest(prompt, a, b), "prompt": prompt, "a": a, "b": b, "human": None})
    write_jsonl(folder / "pairs.jsonl", rows)


def stage_of(run: Run, name: str) -> Stage:
    return Stage.objects.get(uses__run=run, uses__name=name)


def points(stage: Stage, tag: str = "loss") -> list[int]:
    """The steps of a series, exactly as stored."""
    chunks = stage.chunks.filter(tag=tag).order_by("index").values_list("steps", flat=True)
    stored = np.frombuffer(b"".join(bytes(chunk) for chunk in chunks), "<i8").tolist()
    assert stored == read_series(stage.pk, tag).steps.tolist()
    return stored


@pytest.fixture
def scripted(team: Team, owner: User, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """A queued ppo stage whose process follows a script."""

    def make(**script: Any) -> Stage:
        monkeypatch.setattr(supervisor, "prepare", lambda stage: Prepared(
            [*SCRIPT, str(stage.folder)], "", None))
        stage = stage_of(run_before("ppo", team, owner), "ppo")
        assert stage.status == Stage.Status.QUEUED
        write_json(stage.folder / "script.json", {"steps": 12} | script)
        return stage

    return make


def run_stage(stage_id: int, shutdown: threading.Event = supervisor.SHUTDOWN) -> None:
    """As a worker that takes exactly this stage, if it is queued."""
    stage = claim(stage_id)
    if stage is not None:
        supervisor.run_stage(stage, shutdown)


class Background:
    """A supervisor at work in a thread, as in a worker with the pool 'threads'."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.shutdown = stage, threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            run_stage(self.stage.pk, self.shutdown)
        finally:
            connection.close()

    def wait_for_step(self, step: int) -> None:
        self.wait(lambda: self.stage.last_step >= step)

    def wait(self, look: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 20
        while True:
            self.stage.refresh_from_db()
            if look():
                return
            assert time.monotonic() < give_up, f"{self.stage.status} at step {self.stage.last_step}: {self.stage.cause}"
            time.sleep(0.02)

    def join(self) -> Stage:
        self.thread.join(30)
        assert not self.thread.is_alive(), "the supervisor does not end"
        self.stage.refresh_from_db()
        return self.stage


@pytest.fixture
def background() -> Iterator[Callable[[Stage], Background]]:
    running: list[Background] = []

    def start(stage: Stage) -> Background:
        running.append(Background(stage))
        running[-1].thread.start()
        return running[-1]

    yield start
    for runner in running:
        runner.shutdown.set()
        runner.thread.join(30)
