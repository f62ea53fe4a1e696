"""A judge's server that fails in every way, a label stage that is killed ten times: every label, each bought once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, clean_environment
from tests.training.stage_folders import job, pair
from training.run.artifacts import is_complete, read_jsonl
from training.run.jobs import stage_command

pytestmark = pytest.mark.long

PAIRS, IN_FLIGHT, KILLS = 120, 16, 10


@contextmanager
def faulty(log: Path, share: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.faulty_judge", str(log), str(share)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def prepared(folder: Path, base_url: str, pairs: list[dict[str, Any]], **judge: Any) -> Path:
    settings = {"judge": {"kind": "openai", "model": "faulty", "base_url": base_url}, "principle": "detail",
                "statement": "more detailed", "seed": 0}
    job("label", folder, settings, pairs=pairs, runtime={"judge": {"concurrency": IN_FLIGHT, "timeout": 1, **judge}})
    return folder


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(stage_command(folder), cwd=ROOT, env=clean_environment())


def labels(folder: Path) -> dict[str, tuple[float, float]]:
    return {row["pair"]: (row["p_shown"], row["p_swapped"]) for row in read_jsonl(folder / "labels.jsonl")}


def paid(log: Path) -> Counter[str]:
    return Counter(log.read_text().split())


def run_and_kill(folder: Path, log: Path, most: int) -> int:
    """Run the stage to its end, killing it each time that another share of the answers was paid; how often it was."""
    kills = 0
    while True:
        process = start(folder)
        began = len(paid(log)) if log.exists() else 0
        while process.poll() is None:
            if kills < most and len(paid(log)) >= began + 2 * PAIRS // (most + 3):
                process.kill()
            time.sleep(0.01)
        if process.returncode == 0:
            return kills
        assert process.returncode == -9, (folder / "failure.json").read_text()
        kills += 1


def test_killed_ten_times_over_a_failing_server_every_label_arrives_and_none_is_bought_twice(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(PAIRS)]
    calm, stormy = tmp_path / "calm.log", tmp_path / "stormy.log"
    with faulty(calm, 0.0) as base_url:
        assert start(prepared(tmp_path / "calm", base_url, pairs)).wait() == 0
    with faulty(stormy, 0.3) as base_url:
        assert run_and_kill(prepared(tmp_path / "stormy", base_url, pairs), stormy, KILLS) == KILLS

    assert is_complete(tmp_path / "stormy")
    assert labels(tmp_path / "stormy") == labels(tmp_path / "calm") and len(labels(tmp_path / "calm")) == PAIRS
    assert set(paid(calm)) == set(paid(stormy)) and paid(calm).total() == 2 * PAIRS
    again = paid(stormy).total() - 2 * PAIRS
    assert again <= KILLS * IN_FLIGHT, f"{again} answers were bought again: more than were in flight"


def test_a_budget_is_kept_over_a_kill(tmp_path: Path) -> None:
    log, budget = tmp_path / "paid.log", 150
    with faulty(log, 0.0) as base_url:
        folder = prepared(tmp_path / "stage", base_url, [pair(number) for number in range(PAIRS)], budget_calls=budget)
        process = start(folder)
        while not log.exists() or paid(log).total() < 80:
            time.sleep(0.01)
        process.kill()
        process.wait()
        at_the_kill = paid(log).total()
        assert start(folder).wait() == 1
    assert "150 of 150 answers" in (folder / "failure.json").read_text()
    assert budget <= paid(log).total() <= budget + IN_FLIGHT and at_the_kill < budget
