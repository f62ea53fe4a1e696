"""The answers of training and their scores, kept beside the stage: which phases, what of each, and after a stop."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import DiskFull, StopRequested
from training.ppo.rollout_log import RolloutLog
from training.reward.rewards import Rewards
from training.run.artifacts import ROLLOUTS
from training.run.jobs import runtime_of
from training.run.pipeline import identities, plan
from training.stages import ppo


def rows(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / ROLLOUTS).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def add(log: RolloutLog, step: int) -> None:
    """Two responses: 1.5 and -0.5 on kindness, 0 and 2 on brevity, with weights of one half."""
    raw = torch.tensor([[3.0, 1.0], [1.0, 5.0]])
    standardised = torch.tensor([[1.5, 0.0], [-0.5, 2.0]])
    scored = Rewards(raw, standardised, standardised / 2, standardised.mean(dim=1), torch.tensor([0, 1]))
    log.add(step, [[{"role": "user", "content": "Hello?"}], [{"role": "system", "content": "Be kind."},
                   {"role": "user", "content": "Who?"}]], ["Hi.", "Ada."], scored, torch.tensor([0.75, -0.25]),
            torch.tensor([0.1, 0.2]), torch.tensor([3.0, 2.0]), torch.tensor([True, False]))


def test_a_row_is_a_response_with_all_of_its_scores(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, ["kindness", "brevity"], phases=1, batch=2, most=100)
    add(log, 1)
    assert not (tmp_path / ROLLOUTS).exists(), "nothing is written before a checkpoint"
    log.flush()
    first, second = rows(tmp_path)
    assert second == {
        "step": 1, "prompt": "Who?", "response": "Ada.", "reward": -0.25, "total": 0.75, "kl": pytest.approx(0.2),
        "tokens": 2, "ended": False, "active": "brevity", "raw/kindness": 1.0, "raw/brevity": 5.0,
        "standardised/kindness": -0.5, "standardised/brevity": 2.0}
    assert first["active"] == "kindness" and first["ended"] is True


@pytest.mark.parametrize(("most", "kept"), [(0, []), (8, [1, 2, 3, 4]), (7, [1, 3]), (4, [1, 3]), (3, [1, 4]),
                                            (1, [1])])
def test_where_there_are_too_many_every_nth_phase_is_kept(tmp_path: Path, most: int, kept: list[int]) -> None:
    """Four phases of two responses."""
    log = RolloutLog(tmp_path, ["kindness", "brevity"], phases=4, batch=2, most=most)
    for step in range(1, 5):
        add(log, step)
    log.flush()
    assert [row["step"] for row in rows(tmp_path)[::2]] == kept


def test_a_run_that_was_stopped_has_each_phase_once(
        tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    """Stopped after the third phase, whose checkpoint was the second's: the third is done again."""
    recipe = make_recipe(tiny_base, ppo={"checkpoint_every": 2})
    job = make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    ppo.run(job, tmp_path / "whole", Remembering())
    with pytest.raises(StopRequested):
        ppo.run(job, tmp_path / "run", Remembering(stop_after=3))
    ppo.run(job, tmp_path / "run", Remembering())
    whole = rows(tmp_path / "whole")
    assert [row["step"] for row in whole] == [step for step in range(1, 5) for _ in range(6)]
    assert rows(tmp_path / "run") == whole


def test_files_of_phases_after_the_checkpoint_are_deleted(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, ["kindness", "brevity"], phases=9, batch=2, most=100)
    for step in (1, 2, 3):
        add(log, step)
        log.flush()
    add(log, 4)
    log.rewind(2)
    log.flush()
    assert [row["step"] for row in rows(tmp_path)] == [1, 1, 2, 2]


def test_a_full_disk_is_said_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = RolloutLog(tmp_path, ["kindness", "brevity"], phases=1, batch=2, most=100)
    add(log, 1)
    monkeypatch.setattr(pq, "write_table", is_full)
    with pytest.raises(DiskFull, match="responses of training"):
        log.flush()
    assert list((tmp_path / ROLLOUTS).iterdir()) == []
    monkeypatch.undo()
    log.flush()
    assert len(rows(tmp_path)) == 2, "nothing of the phase is lost"


def test_a_run_says_how_many_it_keeps_and_is_no_other_run_for_it(
        tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    few, many = (make_recipe(tiny_base, ppo={"keep_rollouts": most}) for most in (6, 20_000))
    files = {"prompts": "p", "held_out": "h"}
    assert identities(plan(few), files) == identities(plan(many), files)
    job = make_job(few, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])
    job.runtime.update(runtime_of(few, kind="ppo"))
    ppo.run(job, tmp_path / "run", Remembering())
    assert [row["step"] for row in rows(tmp_path / "run")] == [1] * 6


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_grpo_and_rloo_keep_theirs_and_go_on_where_they_stopped(
        algorithm: str, tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> None:
    settings = {"algorithm": algorithm, "group_size": 3, "minibatches": 1, "checkpoint_every": 2, "sample_prompts": 0}
    job = make_job(make_recipe(tiny_base, ppo=settings), "ppo", tmp_path, ppo_inputs,
                   prompts=[{"prompt": prompt} for prompt in PROMPTS])
    reporter = Remembering()
    ppo.run(job, tmp_path / "straight", reporter)
    kept = rows(tmp_path / "straight")
    assert [row["step"] for row in kept] == [1] * 6 + [2] * 6 + [3] * 6 + [4] * 6
    for step in (1, 4):
        of_phase = [row for row in kept if row["step"] == step]
        mean = sum(row["total"] for row in of_phase) / 6
        assert mean == pytest.approx(reporter.metrics[step]["reward/total"], abs=1e-5)
        assert len({row["prompt"] for row in of_phase}) == 2, "two prompts, three answers to each"
    assert all(row["kl"] is None for row in kept)

    with pytest.raises(StopRequested):
        ppo.run(job, tmp_path / "pieces", Remembering(stop_after=3))
    assert max(row["step"] for row in rows(tmp_path / "pieces")) <= 3
    ppo.run(job, tmp_path / "pieces", Remembering())
    assert [(row["step"], row["response"]) for row in rows(tmp_path / "pieces")] == [
        (row["step"], row["response"]) for row in kept]
