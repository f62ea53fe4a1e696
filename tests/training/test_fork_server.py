"""Stages forked from a process that has imported torch: what the server does with its clients, its owner and its end.

That a forked stage ends, stops and resumes as a plain one does is told by test_running_a_stage.py, which runs each of
its stories both ways.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, wait_for
from tests.training.stage_folders import job
from tests.training.tiny_models import make_recipe
from training.config import Recipe
from training.run import jobs
from training.run.pipeline import needs_torch, plan
from training.run.stage_server import StageServer, forking, is_possible

LIGHT = ["training.__main__"]


@pytest.fixture
def server() -> Iterator[StageServer]:
    """A server for stages without a model: it has no torch and starts at once."""
    assert is_possible()
    light = StageServer(preload=LIGHT)
    yield light
    light.close()


def sample_job(folder: Path, base: Path) -> Path:
    recipe: Recipe = make_recipe(base, sample={"count": 4, "max_new_tokens": 6})
    settings = next(stage.settings for stage in plan(recipe) if stage.kind == "sample")
    prompts = [{"prompt": [{"role": "user", "content": f"Is {number} odd?"}]} for number in range(4)]
    job("sample", folder, settings, prompts=prompts)
    return folder


def weights_job(folder: Path) -> Path:
    """A stage that needs no model and nothing to read."""
    job("weights", folder, {"weights": {"mode": "set"}, "given": {"toxicity": 2.0}})
    return folder


def waiting_job(folder: Path) -> Path:
    """A stage without a model that waits for its pairs for ever: a pipe that nobody writes to."""
    job("label", folder, {"judge": {"kind": "rule"}, "principle": "toxicity", "statement": "", "seed": 0}, pairs=[])
    (folder / "files" / "pairs.jsonl").unlink()
    os.mkfifo(folder / "files" / "pairs.jsonl")
    return folder


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def stages_of(server: StageServer) -> list[int]:
    """Process ids of the children of the server."""
    pid = server.pid
    assert pid is not None
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_forked_stage_makes_the_same_bytes_as_a_plain_one_and_the_server_stays_fit_to_fork(
        stage_server: StageServer, tiny_base: Path, tmp_path: Path) -> None:
    """A second thread of the server may hold a lock while the first forks."""
    forked, plain = (sample_job(tmp_path / name, tiny_base) for name in ("forked", "plain"))
    assert subprocess.run(stage_server.command(jobs.stage_command(forked)), timeout=120).returncode == 0
    assert subprocess.run(jobs.stage_command(plain), timeout=120).returncode == 0
    assert (forked / "pairs.jsonl").read_bytes() == (plain / "pairs.jsonl").read_bytes()
    assert stages_of(stage_server) == [], "an ended stage is no zombie"
    assert len(list(Path(f"/proc/{stage_server.pid}/task").iterdir())) == 1
    assert "libtorch" in Path(f"/proc/{stage_server.pid}/maps").read_text()


def test_working_folder_and_output_are_those_of_whoever_asked(server: StageServer, tmp_path: Path) -> None:
    weights_job(tmp_path / "here")
    refusal = "error: There is no job.json in nowhere. Give the folder of a prepared stage.\n"
    for folder, code, output in (("here", 0, ""), ("nowhere", 1, refusal)):
        command = server.command(jobs.stage_command(Path(folder)))  # `training` cannot be imported in that folder
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stdout + ended.stderr) == (code, output)
    assert (tmp_path / "here" / "weights.json").is_file()


def test_killing_the_client_kills_the_stage(server: StageServer, tmp_path: Path) -> None:
    client = subprocess.Popen(server.command(jobs.stage_command(waiting_job(tmp_path / "stage"))),
                              start_new_session=True)
    stage, = wait_for("the stage", lambda: stages_of(server), 60)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait(10)
    wait_for("the end of the stage", lambda: not is_alive(stage), 10)
    wait_for("the server to notice", lambda: not stages_of(server), 10)


def test_a_stage_that_was_killed_ends_its_client_by_the_same_signal(server: StageServer, tmp_path: Path) -> None:
    client = subprocess.Popen(server.command(jobs.stage_command(waiting_job(tmp_path / "stage"))))
    stage, = wait_for("the stage", lambda: stages_of(server), 60)
    os.kill(stage, signal.SIGKILL)  # as the kernel does where memory runs out
    assert client.wait(10) == -signal.SIGKILL


def test_a_server_that_dies_takes_its_stages_with_it_and_the_next_stage_gets_another(
        server: StageServer, tmp_path: Path) -> None:
    folder = waiting_job(tmp_path / "stage")
    client = subprocess.Popen(server.command(jobs.stage_command(folder)))
    stage, = wait_for("the stage", lambda: stages_of(server), 60)
    wait_for("its first steps", (folder / "lock").exists, 30)  # the client has been told by then
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert client.wait(10) == -signal.SIGKILL
    wait_for("the end of the stage", lambda: not is_alive(stage), 10)
    another = weights_job(tmp_path / "another")
    assert subprocess.run(server.command(jobs.stage_command(another)), timeout=120).returncode == 0
    assert server.pid != first


def test_the_server_ends_when_its_owner_was_killed(tmp_path: Path) -> None:
    script = (f"from training.run.stage_server import ENGINE, StageServer; import time; server = StageServer("
              f"preload={LIGHT}); server.command(ENGINE); print(server.pid, flush=True); time.sleep(600)")
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    assert is_alive(server)
    owner.kill()
    owner.wait(10)
    wait_for("the end of the server", lambda: not is_alive(server), 60)


def test_a_stage_whose_libraries_would_read_other_variables_starts_by_itself(
        server: StageServer, tmp_path: Path) -> None:
    elsewhere = os.environ | {"HF_HOME": str(tmp_path)}
    client = subprocess.Popen(server.command(jobs.stage_command(waiting_job(tmp_path / "stage"))), env=elsewhere)
    wait_for("the stage", (tmp_path / "stage" / "lock").exists, 60)
    assert stages_of(server) == []
    client.kill()
    client.wait(10)


def test_a_command_whose_server_does_not_answer_runs_by_itself(tmp_path: Path) -> None:
    server = StageServer()
    client = server.command([sys.executable, "-m", "training", "stage", "nowhere"])
    server.close()
    ended = subprocess.run(client, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr[:24]) == (1, "error: There is no job.j")


def test_a_command_that_is_not_the_engines_stays_as_it_is() -> None:
    server = StageServer()
    assert server.command([sys.executable, "-c", "pass"]) == [sys.executable, "-c", "pass"]
    assert server.pid is None


def test_a_signal_that_comes_before_the_stage_has_begun_reaches_it(tmp_path: Path) -> None:
    """The server is importing for seconds; a run that is cancelled in that time must not begin."""
    server = StageServer(preload=["torch"])
    folder = waiting_job(tmp_path / "stage")
    client = subprocess.Popen(server.command(jobs.stage_command(folder)))
    wait_for("the client's handler", lambda: catches(client.pid, signal.SIGTERM), 30)
    client.send_signal(signal.SIGTERM)
    assert client.wait(120) in {jobs.STOPPED, -signal.SIGTERM}
    assert not (folder / "manifest.json").exists()
    server.close()


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


def test_where_forking_is_not_allowed_commands_stay_as_they_are() -> None:
    with forking(allowed=False) as forked:
        assert forked(["python", "-m", "training"]) == ["python", "-m", "training"]


@pytest.mark.parametrize(("kind", "stage_settings", "expected"), [
    ("sample", {}, True), ("ppo", {}, True), ("weights", {}, False), ("draw", {}, False),
    ("label", {"judge": {"kind": "openai"}}, False), ("label", {"judge": {"kind": "local"}}, True),
])
def test_what_loads_a_model_is_forked(kind: str, stage_settings: dict[str, object], expected: bool) -> None:
    assert needs_torch(kind, stage_settings) is expected
