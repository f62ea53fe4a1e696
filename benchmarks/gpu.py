"""Every measurement on a GPU in one call of under seven minutes.

Speed against transformers, against TRL and against an earlier engine, the plan of memory, and a whole road:

    python benchmarks/gpu.py --baseline DIR --model FOLDER [--seconds 400] [--parts decode,ppo] [--size 0.5b]
                             [--device cuda] [--data FILE] [--small]

DIR is a checkout of the commit to compare with (`git worktree add DIR 49c57f3`), FOLDER a real small model. Random
weights of one shape in bf16 (fp32 on a CPU), LoRA on all layers:

    decode        tokens per second against `generate` with the same LoRA policy (decode.py)
    ppo           samples per second with one preference model and 4 epochs, against the earlier engine
    ppo_vs_trl    the same against TRL 1.12.0 (ppo_vs_trl.py)
    judge         labels per second of a local judge with twelve principles, against the earlier engine (local_judge.py)
    pm            pairs per second of training preference models, against it (preference_model_training.py)
    memory_error  the largest |expected / measured - 1| of the peaks of all stages of three shapes (memory.py)
    road_s        seconds of a whole recipe on the real model: 600 pairs of 64 tokens, its own labels on three
                  principles, preference models, ten phases of PPO, evaluation

Each part runs in a process of its own within a limit of time, so that one which fails or hangs loses its own figure
only. What no longer fits into `--seconds` is left out. `--small` takes little of everything, to try the script out.
A table of the figures, their bars and what there is to say about them comes at the end, and last
`decode: 14.00 ppo: 6.50 ppo_vs_trl: 11.00 judge: 20.00 pm: 7.00 memory_error: 0.12 road_s: 95.00`, with n/a for a
figure that was not measured. It ends with 1 if a chosen part has no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import repository


class Part(NamedTuple):
    """What a part asks for.

    Attributes:
        bar: what its figure should be.
        least: seconds below which it is not worth starting.
        limit: seconds after which it is stopped on a GPU; on a CPU it may take what is left.
        needs: options of the command line without which it has nothing to measure.
        is_of_shape: whether it measures the models of one shape that are made once for all parts.
    """

    bar: str
    least: float
    limit: float
    needs: tuple[str, ...] = ()
    is_of_shape: bool = True


PARTS = {
    "decode": Part(">= 10", 15, 60),
    "ppo": Part(">= 6", 25, 100, ("baseline",)),
    "ppo_vs_trl": Part(">= 8", 25, 90),
    "judge": Part(">= 20", 20, 90, ("baseline",)),
    "pm": Part(">= 7", 25, 120, ("baseline",)),
    "memory_error": Part("<= 0.15", 25, 120),
    "road_s": Part("", 60, 240, ("model",), is_of_shape=False),
}
MODELS = "models"
"""Not a part: makes what the others measure."""

SCRIPT = Path(__file__).resolve().with_name("gpu_parts.py")


@dataclass(frozen=True)
class Task:
    """What every part is told."""

    folder: str
    size: str
    device: str
    baseline: str = ""
    model: str = ""
    data: str = ""
    small: bool = False

    @property
    def precision(self) -> str:
        return "bf16" if self.device == "cuda" else "fp32"


@dataclass
class Result:
    """What became of a part: its own figure and others of its table, by name, and what there is to say."""

    figures: dict[str, float] = field(default_factory=dict)
    remark: str = ""
    seconds: float = 0


Starter = Callable[[str, float], Result]
"""Runs a part by its name, for so many seconds at most."""


def run_part(command: Sequence[str], folder: Path, limit: float) -> Result:
    """Run a part with all its processes; what it recorded before it failed or was stopped counts.

    Its output goes to ours as it comes; its errors are shown where it fails.
    """
    began = time.monotonic()
    recorded, errors = folder / "result.json", folder / "errors.txt"
    with errors.open("w") as error_file:
        process = subprocess.Popen(command, cwd=repository.ROOT, stderr=error_file, start_new_session=True,
                                   env=os.environ | {"PYTHONUNBUFFERED": "1"})
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # also what a part that failed left running
            process.wait()
    failure = "" if code == 0 else why(code, limit, errors.read_text(errors="replace"))
    if failure:
        print("\n".join(errors.read_text(errors="replace").splitlines()[-15:]), flush=True)
    values = json.loads(recorded.read_text()) if recorded.exists() else {"figures": {}, "remark": ""}
    remarks = [remark for remark in (values["remark"], failure) if remark]
    return Result(values["figures"], "; ".join(remarks), time.monotonic() - began)


def why(code: int | None, limit: float, errors: str) -> str:
    """Why a part did not end well: its last line of errors, where it has one."""
    if code is None:
        return f"stopped after {limit:.0f} s"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1][:100] if lines else f"exit code {code}"


def measure(parts: Iterable[str], task: Task, start: Starter, seconds: float,
            clock: Callable[[], float] = time.monotonic) -> dict[str, Result]:
    """Run one part after another while time is left; what is left out says why."""
    until = clock() + seconds
    results: dict[str, Result] = {}
    models: Result | None = None
    for name in parts:
        part = PARTS[name]
        if missing := [option for option in part.needs if not getattr(task, option)]:
            results[name] = Result(remark=f"no --{missing[0]}")
        elif (left := until - clock()) < part.least:
            results[name] = Result(remark=f"left out: {left:.0f} s left")
        else:
            if part.is_of_shape and models is None:
                models = start(MODELS, left)
            if part.is_of_shape and models is not None and models.remark:
                results[name] = Result(remark=f"no models: {models.remark}")
            else:
                left = until - clock()
                results[name] = start(name, min(part.limit, left) if task.device == "cuda" else left)
        print(row(name, results[name]), flush=True)
    return results


def shown(name: str, figures: Mapping[str, float]) -> str:
    return f"{figures[name]:.2f}" if name in figures else "n/a"


def row(name: str, result: Result) -> str:
    """A line of the table; figures beside the part's own stand among the remarks."""
    figure = shown(name, result.figures)
    more = [f"{other}: {value:.2f}" for other, value in result.figures.items() if other != name]
    said = f"({result.remark})" if result.remark else ""
    return f"{name:13} {figure:>8}   {PARTS[name].bar:8} {result.seconds:6.0f} s   {'  '.join([*more, said])}".rstrip()


def last_line(results: Mapping[str, Result]) -> str:
    return " ".join(f"{name}: {shown(name, results[name].figures if name in results else {})}" for name in PARTS)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; `parts` becomes a list in the order of PARTS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--model", type=Path, help="the folder of a real model, for the road")
    parser.add_argument("--data", type=Path, help="a file of prompts for the road; default: the demo world's")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, with commas; default: all")
    parser.add_argument("--seconds", type=float, default=400, help="for all parts together")
    parser.add_argument("--size", default="0.5b", help="a shape of shapes.py")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--small", action="store_true", help="little of everything, to try the script out")
    options = parser.parse_args(arguments)
    chosen = options.parts.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"no part is called {unknown[0]!r}; there are {', '.join(PARTS)}")
    options.parts = [name for name in PARTS if name in chosen]
    for name in ("baseline", "model", "data"):
        path = getattr(options, name)
        if path is not None and not path.exists():
            parser.error(f"--{name}: there is no {path}")
        setattr(options, name, "" if path is None else str(path.resolve()))
    return options


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part that runs is ended as well
    with tempfile.TemporaryDirectory(prefix="concord-gpu-") as temporary:
        task = Task(temporary, options.size, options.device, options.baseline, options.model, options.data,
                    options.small)

        def start(name: str, limit: float) -> Result:
            print(f"-- {name}, at most {limit:.0f} s", flush=True)
            folder = Path(temporary) / name
            folder.mkdir()
            return run_part([sys.executable, str(SCRIPT), name, json.dumps(asdict(task))], folder, limit)

        results = measure(options.parts, task, start, options.seconds)
    print("\nfigure          value   bar          time", *(row(name, result) for name, result in results.items()),
          sep="\n")
    print(last_line(results), flush=True)
    return int(any(name not in result.figures for name, result in results.items()))


if __name__ == "__main__":
    sys.exit(main())
