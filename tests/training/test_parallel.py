"""PPO in two processes, as `accelerate launch` starts them, makes the step of one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.processes import ROOT, clean_environment
from tests.training.stage_folders import events
from tests.training.tiny_models import PROMPTS, Remembering, make_job, make_recipe
from training.errors import BadSettings
from training.models import rollouts
from training.ppo import parallel
from training.run.artifacts import Job, is_complete, write_json
from training.stages import ppo

CONFIG = "training/recipes/accelerate/ddp.yaml"


def launched(folder: Path) -> subprocess.CompletedProcess[str]:
    """The stage in two processes, on the CPU where there is no GPU; port 0 is any free one."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, "--main_process_port", "0",
               "-m", "training", "stage", str(folder)]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280,
                          env=clean_environment(OMP_NUM_THREADS="1"))


def answered_in_halves(language: Any, ids: Any, mask: Any, sampling: Any, generator: torch.Generator) -> Any:
    """What two processes draw, each half of the prompts with numbers of its own, put together."""
    drawn = int(torch.randint(2**62, (), generator=generator))
    halves = [whole_generate(language, ids[rows], mask[rows], sampling, torch.Generator().manual_seed(drawn + rank))
              for rank, rows in enumerate(torch.arange(len(ids)).tensor_split(2))]  # fmt: skip
    longest = max(half.responses.shape[1] for half in halves)
    wide = [[torch.nn.functional.pad(tensor, (0, longest - tensor.shape[1]))
             for tensor in (half.responses, half.mask, half.logprobs)] for half in halves]  # fmt: skip
    responses, masks, logprobs = (torch.cat(pair) for pair in zip(*wide, strict=True))
    return rollouts.Rollout(ids, mask, responses, masks, torch.cat([half.ended for half in halves]), logprobs)


whole_generate = rollouts.generate


@pytest.fixture
def job(tmp_path: Path, tiny_base: Path, ppo_inputs: dict[str, Path]) -> Job:
    """Two phases of two epochs of two minibatches: five prompts, six answers, in micro-batches of two."""
    recipe = make_recipe(tiny_base, ppo={"steps": 2, "sample_prompts": 0, "kl": {"target": 0.1, "horizon": 60}})
    return make_job(recipe, "ppo", tmp_path, ppo_inputs, prompts=[{"prompt": prompt} for prompt in PROMPTS])


@pytest.mark.long
def test_two_processes_make_the_steps_of_one(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "two"
    write_json(folder / "job.json", job.model_dump(mode="json"))
    done = launched(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    assert is_complete(folder)
    metrics = {event["step"]: event["values"] for event in events(folder, "metric")}
    assert sorted(metrics) == [1, 2] and len(events(folder, "metric")) == 2  # one process reports

    reporter = Remembering()
    monkeypatch.setattr(ppo.rollouts, "generate", answered_in_halves)
    ppo.run(job, tmp_path / "one", reporter)
    for step, values in reporter.metrics.items():
        for tag, value in values.items():
            if tag.split("/")[0] not in ("time", "throughput"):
                assert metrics[step][tag] == pytest.approx(value, rel=1e-4, abs=1e-4), (step, tag)
    files = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("one", "two")]
    alone, together = map(load_file, files)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-5)


def test_alone_nothing_is_shared_and_nothing_changes() -> None:
    rows, generator = torch.arange(5), torch.Generator()
    reporter = Remembering()
    parameter = torch.nn.Parameter(torch.ones(2))
    parallel.all_reduce_gradients([parameter])
    assert parallel.world_size() == 1 and parallel.is_main() and parameter.grad is None
    assert parallel.shard(rows) is rows and parallel.all_reduce_sum(rows) is rows
    assert parallel.own_generator(generator) is generator and parallel.rank_zero_reporter(reporter, least=1) is reporter


def test_more_processes_than_rows_of_a_minibatch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "world_size", lambda: 4)
    with pytest.raises(BadSettings, match="A minibatch has 3 rows for 4 processes.*start 3 processes"):
        parallel.rank_zero_reporter(Remembering(), least=3)


def test_a_stage_that_knows_one_process_only_says_so(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.__main__ import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    grpo = job.settings | {"ppo": job.settings["ppo"] | {"algorithm": "grpo"}}
    write_json(tmp_path / "grpo" / "job.json", job.model_copy(update={"settings": grpo}).model_dump(mode="json"))
    assert main(["stage", str(tmp_path / "grpo")]) == 1
