"""One stage in a process of its own: how it ends, what it leaves, and that there is never a second one."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from tests.training.scripted_server import Reply, failure, letters, serving
from tests.training.stage_folders import events, job, pair
from training.config import Recipe, shipped_recipe
from training.config.judge import RUNTIME_ONLY
from training.errors import BadData, OutOfMemory
from training.run import jobs
from training.run.artifacts import is_complete, read_json
from training.run.pipeline import plan
from training.run.stage_server import StageServer
from training.stages import runner

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["plain", "forked"])
def command_of(request: pytest.FixtureRequest) -> Callable[[Path], list[str]]:
    """What starts a stage: its own command, or one that has it forked by a process that has torch already."""
    if request.param == "plain":
        return jobs.stage_command
    server: StageServer = request.getfixturevalue("stage_server")
    return lambda folder: server.command(jobs.stage_command(folder))


@pytest.fixture
def start(command_of: Callable[[Path], list[str]]) -> Start:
    def start_it(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
        with (folder.parent / f"{folder.name}.stderr").open("w") as stderr:
            return subprocess.Popen([*command_of(folder), *options], text=True, stderr=stderr,
                                    env=os.environ | environment)
    return start_it


def label_job(folder: Path, base_url: str, count: int = 3, **judge: Any) -> None:
    settings = {"judge": {"kind": "openai", "model": "m", "base_url": base_url, "both_orders": False},
                "principle": "toxicity", "statement": "less toxic", "seed": 0}
    pairs = [pair(n) for n in range(count)]
    job("label", folder, settings, runtime={"judge": {"concurrency": 1, **judge}}, pairs=pairs)


def wait_for(condition: Any) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


def test_a_stage_that_ends_well_leaves_a_manifest_and_no_checkpoint(start: Start, tmp_path: Path) -> None:
    with serving(lambda *_: letters(0.8)) as server:
        label_job(tmp_path, server.base_url, api_key_env="CONCORD_JUDGE_TEST_KEY")
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "failure.json").write_text("{}")
        process = start(tmp_path, CONCORD_JUDGE_TEST_KEY="the-key")
        assert process.wait(30) == 0
        assert server.keys == ["Bearer the-key"] * 3
    assert list(read_json(tmp_path / "manifest.json")["files"]) == ["labels.jsonl"]
    assert not (tmp_path / "checkpoint").exists() and not (tmp_path / "failure.json").exists()
    assert start(tmp_path).wait(30) == 0  # complete: nothing is done again
    assert len(events(tmp_path, "label")) == 3
    assert "the-key" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_second_process_refuses_and_touches_nothing(start: Start, tmp_path: Path) -> None:
    label_job(tmp_path, "http://127.0.0.1:9/v1")
    with (tmp_path / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert start(tmp_path).wait(30) == 73
    assert "another process has this stage" in (tmp_path.parent / f"{tmp_path.name}.stderr").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "job.json", "lock"]


def slow(*_: Any) -> Reply:
    time.sleep(0.15)
    return letters(0.8)


def test_asked_to_stop_it_stops_at_a_safe_point_and_goes_on_later(start: Start, tmp_path: Path) -> None:
    with serving(slow) as server:
        label_job(tmp_path, server.base_url, count=12)
        process = start(tmp_path)
        wait_for(lambda: (tmp_path / "events.jsonl").exists() and len(events(tmp_path, "label")) >= 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 75
        assert not is_complete(tmp_path) and not (tmp_path / "failure.json").exists()
        server.script = lambda *_: letters(0.8)
        assert start(tmp_path).wait(30) == 0
        assert len(server.requests) == 12  # not one label was bought twice


def test_killed_it_goes_on_later(start: Start, tmp_path: Path) -> None:
    with serving(slow) as server:
        label_job(tmp_path, server.base_url, count=8)
        process = start(tmp_path)
        wait_for(lambda: (tmp_path / "events.jsonl").exists() and len(events(tmp_path, "label")) >= 2)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
        server.script = lambda *_: letters(0.8)
        assert start(tmp_path).wait(30) == 0
        assert len(server.requests) <= 9  # what was in flight is the most that can be lost
    sequence = [event["seq"] for event in events(tmp_path)]
    assert sequence == list(range(1, len(sequence) + 1))


def test_it_stops_when_the_process_that_started_it_goes_away(
        command_of: Callable[[Path], list[str]], tmp_path: Path) -> None:
    with serving(slow) as server:
        label_job(tmp_path, server.base_url, count=200)
        command = [*command_of(tmp_path), "--die-with-parent"]
        parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({command!r})"])
        wait_for(lambda: (tmp_path / "events.jsonl").exists() and events(tmp_path, "label"))
        parent.kill()
        parent.wait(30)
        wait_for(lambda: events(tmp_path, "log")[-1]["message"].startswith("stopped on request"))


def test_a_named_failure_says_cause_and_remedy(start: Start, tmp_path: Path) -> None:
    with serving(lambda *_: failure(401)) as server:
        label_job(tmp_path, server.base_url)
        assert start(tmp_path).wait(30) == 1
    found = read_json(tmp_path / "failure.json")
    assert found["kind"] == "judge" and "refused the key" in found["cause"] and "api_key_env" in found["remedy"]
    assert "Traceback" in found["details"]
    assert not is_complete(tmp_path)
    assert events(tmp_path, "log")[-1]["level"] == "error"


def test_a_bug_is_called_a_bug(start: Start, tmp_path: Path) -> None:
    job("label", tmp_path, {"judge": {"kind": "rule"}, "principle": "toxicity", "statement": "", "seed": 0},
        pairs=[{"digest": "x"}])
    assert start(tmp_path).wait(30) == 1
    found = read_json(tmp_path / "failure.json")
    assert found["kind"] == "bug" and "KeyError" in found["cause"] and "Traceback" in found["details"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
                                   OutOfMemory("It was not enough.", "Choose a smaller base.")])
def test_out_of_memory_names_the_setting_and_the_numbers(tmp_path: Path, error: Exception) -> None:
    made = job("ppo", tmp_path, {"ppo": {"micro_batch": 64}})
    found = runner.describe(error, made)
    assert found["kind"] == "out of memory"
    assert found["remedy"] == "Lower 'ppo.micro_batch' from 64 to 32, then start it again."


HUNGRY = {
    ("sft", "sft"): ("batch_size", "max_length"),
    ("sample", "sample"): ("batch_size", "max_new_tokens"),
    ("label", "judge"): (),  # pairs are streamed: fewer of them need no less memory
    ("preference_model", "preference_model"): ("batch_size", "max_length"),
    ("ppo", "ppo"): ("micro_batch", "batch_size", "max_new_tokens"),
    ("evaluate", "evaluate"): ("max_new_tokens", "prompts"),
}


@pytest.mark.parametrize(("kind", "section"), HUNGRY)
def test_out_of_memory_says_from_what_to_what_and_when_that_is_at_its_least_the_next(
    tmp_path: Path, kind: str, section: str
) -> None:
    whole = {"principles": [{"name": "detail"}]}
    settings = Recipe.model_validate(whole).model_dump(mode="json")[section]
    for key in HUNGRY[kind, section]:
        found = runner.describe(MemoryError(), job(kind, tmp_path, {section: settings}))
        before, after = settings[key], settings[key] // 2
        assert found["remedy"] == f"Lower '{section}.{key}' from {before} to {after}, then start it again."
        Recipe.model_validate(whole | {section: {key: after}})  # what is advised can be followed
        settings[key] = 1
    found = runner.describe(MemoryError(), job(kind, tmp_path, {section: settings}))
    assert found["remedy"] == "Choose a smaller base model, or a machine with more memory."


FULL = [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: No space left on device"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0: file write failed")]  # fmt: skip


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk_is_named_whoever_finds_it(tmp_path: Path, error: Exception) -> None:
    found = runner.describe(error, job("ppo", tmp_path, {}))
    assert found["kind"] == "disk full" and "goes on from the last checkpoint" in found["remedy"]


def test_an_expected_failure_keeps_its_own_words(tmp_path: Path) -> None:
    found = runner.describe(BadData("No pairs.", "Sample some."), job("label", tmp_path, {}))
    assert found == {"kind": "bad data", "cause": "No pairs.", "remedy": "Sample some."}


def test_only_stages_that_ask_a_judge_are_told_of_its_account(tmp_path: Path) -> None:
    recipe = shipped_recipe("demo")
    runtimes = {}
    for stage in plan(recipe):
        inputs = dict.fromkeys(stage.inputs, tmp_path)
        made = jobs.prepare_stage(stage, "f" * 64, tmp_path / stage.kind, inputs, {}, jobs.runtime_of(recipe))
        assert jobs.read_job(tmp_path / stage.kind) == made
        runtimes[stage.kind] = made.runtime
    account = jobs.runtime_of(recipe)
    assert set(account["judge"]) == RUNTIME_ONLY
    first = {"sample": {"preflight"}, "label": {"judge"}, "evaluate": {"judge"}}
    assert runtimes == {kind: {key: account[key] for key in {"models"} | first.get(kind, set())} for kind in runtimes}


def test_stages_without_a_model_never_import_torch(tmp_path: Path) -> None:
    job("weights", tmp_path, {"weights": {"mode": "set"}, "given": {"detail": 1.0}})
    code = ("import sys; from pathlib import Path; from training.stages import runner; "
            f"assert runner.run_stage(Path({str(tmp_path)!r})) == 0; import training.stages.label; "
            "import training.judges.openai_judge; assert 'torch' not in sys.modules")
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < 10
