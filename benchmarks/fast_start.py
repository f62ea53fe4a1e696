"""How long a stage takes until it begins to work, started by itself and forked from a process that has imported torch.

    python benchmarks/fast_start.py [--rounds 5]

The same `sample` stage of the demo world both ways, in turns; the time is from the command to the stage's first event.
Prints `forked_s: 0.2 plain_s: 6.8 ratio: 34`, medians, and the resident memory that the server keeps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from training.config import check_recipe, shipped_recipe
from training.data.data_files import prepare
from training.run.jobs import prepare_stage, runtime_of, stage_command
from training.run.pipeline import plan
from training.run.stage_server import StageServer


def prepared(out: Path, name: str) -> Path:
    """The folder of a small `sample` stage."""
    settings = shipped_recipe("demo").model_dump(mode="json")
    settings["data"] |= {"limit": 60, "held_out": 12}
    settings["sample"] |= {"count": 4}
    recipe = check_recipe(settings)
    stage = next(stage for stage in plan(recipe) if stage.kind == "sample")
    files = {role: path for role, path in prepare(recipe, out / "data").items() if role in stage.files}
    prepare_stage(stage, "0" * 64, out / name, {}, files, runtime_of(recipe))
    return out / name


def seconds_to_first_event(command: Sequence[str], folder: Path) -> float:
    began = time.time()
    ended = subprocess.run(command)
    if ended.returncode:
        raise SystemExit(f"the stage in {folder} ended with code {ended.returncode}")
    first = json.loads((folder / "events.jsonl").read_text().splitlines()[0])
    return float(first["time"]) - began


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {"forked": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        out, server = Path(folder), StageServer()
        warm = prepared(out, "warm")
        seconds_to_first_event(server.command(stage_command(warm)), warm)
        for turn in range(rounds):
            for kind, seconds in times.items():
                stage = prepared(out, f"{kind}{turn}")
                command = stage_command(stage) if kind == "plain" else server.command(stage_command(stage))
                seconds.append(seconds_to_first_event(command, stage))
        assert server.pid is not None
        memory = resident_mb(server.pid)
        server.close()
    forked, plain = (statistics.median(times[kind]) for kind in ("forked", "plain"))
    print(f"the server keeps {memory:.0f} MB")
    print(f"forked_s: {forked:.2f} plain_s: {plain:.2f} ratio: {plain / forked:.0f}")


if __name__ == "__main__":
    main()
