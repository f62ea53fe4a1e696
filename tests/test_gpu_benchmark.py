"""What `benchmarks/gpu.py` does around its measurements: a part that fails, hangs or has no time loses one figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.processes import ROOT, wait_for


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


class Starts:
    """Stands for the processes: each part takes ten seconds of its own clock and has a figure, or what is told here."""

    def __init__(self, gpu: ModuleType, remarks: dict[str, str]) -> None:
        self.gpu, self.remarks = gpu, remarks
        self.now = 0.0
        self.limits: dict[str, float] = {}

    def clock(self) -> float:
        return self.now

    def __call__(self, name: str, limit: float):
        self.limits[name] = limit
        self.now += min(10, limit)
        remark = self.remarks.get(name, "")
        return self.gpu.Result({} if remark else {name: 2.0}, remark, 10)


def measured(gpu: ModuleType, parts: list[str], seconds: float = 1000, remarks: dict[str, str] | None = None,
             **options: str):
    starts = Starts(gpu, remarks or {})
    task = gpu.Task("folder", "tiny", options.pop("device", "cuda"), **options)
    return gpu.measure(parts, task, starts, seconds, starts.clock), starts


def test_the_last_line_names_every_figure_whatever_was_chosen(gpu: ModuleType) -> None:
    results, _ = measured(gpu, ["decode", "road_s"], model="m")
    assert gpu.last_line(results) == ("decode: 2.00 ppo: n/a ppo_vs_trl: n/a judge: n/a pm: n/a memory_error: n/a "
                                      "road_s: 2.00")


def test_a_part_that_fails_loses_its_own_figure_only(gpu: ModuleType) -> None:
    results, _ = measured(gpu, ["decode", "judge", "pm"], remarks={"judge": "out of memory"}, baseline="b")
    assert [name for name, result in results.items() if result.figures] == ["decode", "pm"]
    assert "n/a" in gpu.row("judge", results["judge"]) and "(out of memory)" in gpu.row("judge", results["judge"])


def test_what_no_longer_fits_is_left_out_and_says_so(gpu: ModuleType) -> None:
    results, starts = measured(gpu, list(gpu.PARTS), seconds=60, baseline="b", model="m")
    assert list(starts.limits) == ["models", "decode", "ppo", "ppo_vs_trl", "judge"]
    assert starts.limits["decode"] == 50, "less than its own limit is left"
    assert results["pm"].remark == "left out: 10 s left"
    assert results["road_s"].remark == "left out: 10 s left"


def test_a_part_that_misses_an_option_is_not_started(gpu: ModuleType) -> None:
    results, starts = measured(gpu, ["ppo", "road_s"])
    assert not starts.limits
    assert results["ppo"].remark == "no --baseline" and results["road_s"].remark == "no --model"


def test_without_models_of_the_shape_only_the_road_is_measured(gpu: ModuleType) -> None:
    results, starts = measured(gpu, ["decode", "memory_error", "road_s"], remarks={"models": "disk full"}, model="m")
    assert list(starts.limits) == ["models", "road_s"]
    assert results["memory_error"].remark == "no models: disk full"


def test_on_a_cpu_a_part_may_take_all_that_is_left(gpu: ModuleType) -> None:
    _, starts = measured(gpu, ["decode"], seconds=900, device="cpu")
    assert starts.limits["decode"] == 890


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_the_figures_of_a_process_are_what_it_recorded(gpu: ModuleType, tmp_path: Path) -> None:
    program = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    told = json.dumps({"figures": {"decode": 3.0}, "remark": "greedy tokens differ: 1 of 8"})
    result = gpu.run_part([*python(program), str(tmp_path / "result.json"), told], tmp_path, 60)
    assert result.figures == {"decode": 3.0} and result.remark == "greedy tokens differ: 1 of 8"


def test_a_process_that_fails_says_why_in_one_line(gpu: ModuleType, tmp_path: Path) -> None:
    result = gpu.run_part(python("raise MemoryError('CUDA out of memory')"), tmp_path, 60)
    assert result.figures == {} and result.remark == "MemoryError: CUDA out of memory"
    killed = gpu.run_part(python("import os; os.kill(os.getpid(), 9)"), tmp_path, 60)
    assert killed.remark == "killed by SIGKILL"


def test_a_process_that_hangs_is_stopped_and_keeps_what_it_had(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"figures": {"decode": 3.0}, "remark": ""}))
    result = gpu.run_part(python("import time; time.sleep(600)"), tmp_path, 0.3)
    assert result.figures == {"decode": 3.0} and result.remark == "stopped after 0 s"
    assert result.seconds < 60


def test_nothing_that_a_part_started_outlives_it(gpu: ModuleType, tmp_path: Path) -> None:
    program = ("import pathlib, subprocess, sys\n"
               "child = subprocess.Popen(['sleep', '600'])\npathlib.Path(sys.argv[1]).write_text(str(child.pid))")
    gpu.run_part([*python(program), str(tmp_path / "pid")], tmp_path, 60)
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    wait_for("the child to have ended", lambda: not stat.exists() or stat.read_text().split()[2] == "Z", 10)


def test_a_call_that_is_ended_ends_the_part_that_runs(tmp_path: Path) -> None:
    part, pid_file = tmp_path / "part.py", tmp_path / "pid"
    part.write_text(f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(f'{{os.getpid()}}.')\n"
                    "time.sleep(600)")
    program = (f"import pathlib, sys\nsys.path.insert(0, {str(ROOT / 'benchmarks')!r})\nimport gpu\n"
               f"gpu.SCRIPT = pathlib.Path({str(part)!r})\nsys.exit(gpu.main())")
    call = subprocess.Popen([*python(program), "--parts", "decode", "--device", "cpu"])
    wait_for("the part to run", lambda: pid_file.exists() and pid_file.read_text().endswith("."), 30)
    call.terminate()
    assert call.wait(30) == 143
    assert not (Path("/proc") / pid_file.read_text().rstrip(".")).exists()


def test_the_command_line_chooses_parts_in_their_order(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    options = gpu.parse(["--parts", "pm,decode", "--baseline", os.curdir])
    assert options.parts == ["decode", "pm"] and options.baseline == str(Path.cwd()) and options.model == ""
    for wrong, complaint in ((["--parts", "decode,speed"], "no part is called 'speed'"),
                             (["--model", "/nowhere"], "there is no /nowhere")):
        with pytest.raises(SystemExit):
            gpu.parse(wrong)
        assert complaint in capsys.readouterr().err
