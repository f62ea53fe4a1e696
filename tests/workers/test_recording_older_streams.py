"""A stream that an older version of Concord wrote is recorded as that version recorded it, row by row."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_events_of_every_version import RECORDED, VERSIONS, tell_label, tell_ppo
from tests.workers.conftest import run_before, stage_of
from webapp.accounts.models import Team, User
from webapp.labels.models import Label
from webapp.runs.models import LogLine, Sample, Stage
from webapp.runs.series.curves import read_series
from workers.recording import Recorder

pytestmark = pytest.mark.django_db(transaction=True)

JUDGED = ("pair__digest", "judge", "prompt_version", "model", "probability", "p_shown", "p_swapped", "order_gap",
          "confidence", "order_flip", "error", "tokens")


def rows_of(stage: Stage) -> dict[str, Any]:
    """What the database holds of a stage, as JSON holds it."""
    stage.refresh_from_db()
    series = {}
    for tag in set(stage.chunks.values_list("tag", flat=True)):
        points = read_series(stage.pk, tag)
        series[tag] = [points.steps.tolist(), [str(value) for value in points.values.tolist()]]
    samples = Sample.objects.filter(stage=stage).order_by("step", "index")
    log = LogLine.objects.filter(stage=stage).order_by("seq")
    return {
        "stage": [stage.last_step, stage.rewinds, stage.progress_done, stage.progress_total, stage.progress_unit,
                  stage.events_seq],
        "series": series,
        "samples": list(samples.values("step", "index", "prompt", "response", "reward", "rewards")),
        "log": [{name: value.timestamp() if isinstance(value, datetime) else value for name, value in row.items()}
                for row in log.values("seq", "time", "level", "message", "code", "step")],
        "labels": list(Label.objects.order_by("pair__digest").values(*JUDGED))}


def recorded(stream: Path, kind: str, team: Team, owner: User) -> dict[str, Any]:
    judge = {"kind": "openai", "model": "gpt-4o-mini", "base_url": "https://judge.example/v1"}
    run = run_before(kind, team, owner, judge=judge)
    stage = stage_of(run, "ppo" if kind == "ppo" else "label:toxicity")
    Stage.objects.filter(pk=stage.pk).update(status=Stage.Status.RUNNING, lease_token="mine")
    stage = Stage.objects.get(pk=stage.pk)
    stage.folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(stream, stage.folder / "events.jsonl")
    recorder = Recorder(stage, "mine", stage_of(run, "sample").folder / "pairs.jsonl" if kind == "label" else None)
    while recorder.record_new():
        pass
    return rows_of(stage)


@pytest.mark.parametrize("kind", ["ppo", "label"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_stream_gives_the_rows_that_its_own_time_gave(
    version: str, kind: str, team: Team, owner: User,
) -> None:
    expected = json.loads((RECORDED / version / f"{kind}.rows.json").read_text())
    assert recorded(RECORDED / version / f"{kind}.jsonl", kind, team, owner) == expected


@pytest.mark.parametrize("kind", ["ppo", "label"])
def test_a_stream_of_today_gives_the_same_rows(kind: str, team: Team, owner: User, tmp_path: Path) -> None:
    {"ppo": tell_ppo, "label": tell_label}[kind](tmp_path)
    expected = json.loads((RECORDED / "before_versions" / f"{kind}.rows.json").read_text())
    rows = recorded(tmp_path / f"{kind}.jsonl", kind, team, owner)
    for line in [*rows["log"], *expected["log"]]:
        del line["time"]
    assert rows == expected
