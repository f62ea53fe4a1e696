"""How far the memory plan is off: the peak that a recipe's plan expects of each stage, against the measured peak.

    python benchmarks/memory.py [--sizes 10m 0.1b 135m] [--base DIR] [--device cpu]

Three shapes with random weights (or the model in DIR as the third), fp32 on a CPU and bf16 on a GPU; prompts of 64
tokens. Every stage runs in a process of its own: on a CPU its peak is the largest resident set, on a GPU torch's
largest allocation. The last line is `memory_error: 0.12`: the largest |expected / measured - 1| of all stages and
shapes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import repository  # noqa: F401
import torch
from shapes import make_policy, make_prompts

from training.config import Recipe, check_recipe
from training.run.artifacts import digest_of, write_jsonl, write_manifest
from training.run.device import Device, this_machine
from training.run.jobs import prepare_stage, stage_command
from training.run.memory_plan import run_memory
from training.run.pipeline import pair_digest, plan

PROMPT, RESPONSE = 64, 64
PEAK = "peak.json"


class Measured(NamedTuple):
    kind: str
    expected: int
    measured: int

    @property
    def error(self) -> float:
        return abs(self.expected / self.measured - 1)


def recipe_for(base: Path, device: str) -> Recipe:
    """Two phases of PPO, with batches large enough that a pass counts beside the weights."""
    return check_recipe({
        "name": "memory", "principles": [{"name": "toxicity"}], "policy": {"base": str(base)},
        "judge": {"kind": "openai", "model": "none", "max_pairs": 64},
        "preference_model": {"base": str(base), "batch_size": 16, "max_length": 256},
        "sample": {"count": 64, "max_new_tokens": RESPONSE, "batch_size": 64},
        "ppo": {"steps": 2, "batch_size": 32, "epochs": 1, "micro_batch": 16, "max_new_tokens": RESPONSE,
                "sample_prompts": 0},
        "evaluate": {"max_new_tokens": RESPONSE, "prompts": 64},
        "device": device, "precision": "bf16" if device == "cuda" else "fp32"})


def device_of(name: str) -> Device:
    if name == "cuda":
        return Device(torch.cuda.get_device_properties(0).total_memory, True)
    return this_machine()


def run_stage(folder: Path, device: str) -> int:
    """Run a prepared stage; the peak of its process in bytes."""
    peak_file = folder / PEAK
    command = stage_command(folder)
    if device == "cuda":
        program = ("import json, sys, torch\nfrom training.__main__ import main\ncode = main(sys.argv[2:])\n"
                   "json.dump(torch.cuda.max_memory_allocated(), open(sys.argv[1], 'w'))\nsys.exit(code)")
        command = [sys.executable, "-c", program, str(peak_file), *command[3:]]
    path = os.pathsep.join([str(repository.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    pid = os.posix_spawn(command[0], command, os.environ | {"PYTHONPATH": path})
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        failure = folder / "failure.json"
        sys.exit(f"the stage {folder.name} failed: {failure.read_text() if failure.exists() else status}")
    return int(json.loads(peak_file.read_text())) if device == "cuda" else usage.ru_maxrss * 1024


def measure(shape: str, base: Path, out: Path, device: str) -> list[Measured]:
    """Run every stage of the recipe that loads a model, except the evaluation, which needs a judge."""
    recipe = recipe_for(base, device)
    expected = {stage.kind: stage.memory.expected for stage in run_memory(
        recipe, device_of(device), prompt_tokens=(PROMPT, PROMPT, PROMPT)).stages}
    texts = make_prompts(64, PROMPT, shape)
    prompts: list[dict[str, Any]] = [{"prompt": [{"role": "user", "content": text}]} for text in texts]
    files = {"prompts": out / "prompts.jsonl"}
    write_jsonl(files["prompts"], prompts)
    folders = {stage.name: out / stage.name.replace(":", "-") for stage in plan(recipe)}
    results = []
    for stage in plan(recipe):
        folder = folders[stage.name]
        folder.mkdir()
        if stage.kind == "label":
            write_labels(folder, folders["sample"])
            continue
        if stage.kind == "evaluate":
            break
        inputs = {role: folders[name] for role, name in stage.inputs.items()}
        prepare_stage(stage, digest_of(stage.name), folder, inputs, {role: files[role] for role in stage.files})
        peak = run_stage(folder, device)
        if stage.kind in expected:
            results.append(Measured(stage.kind, expected[stage.kind], peak))
            print(f"{base.name:10} {stage.kind:17} expected {expected[stage.kind] / 1e9:6.2f} GB   measured "
                  f"{peak / 1e9:6.2f} GB   error {results[-1].error:5.2f}", flush=True)
    return results


def write_labels(folder: Path, sampled: Path) -> None:
    """Labels of every pair, by the order of its texts."""
    pairs = [json.loads(line) for line in (sampled / "pairs.jsonl").read_text().splitlines()]
    write_jsonl(folder / "labels.jsonl", (
        {"pair": pair_digest(pair["prompt"], pair["a"], pair["b"]), "principle": "toxicity",
         "probability": 0.9 if pair["a"] < pair["b"] else 0.1} for pair in pairs))
    write_manifest(folder)


def largest_error(bases: Sequence[tuple[str, Path]], folder: Path, device: str) -> float:
    """The largest error of all stages over some models, each with the shape whose words its prompts are made of.

    On a GPU the models are measured at the same time: torch counts what each process has allocated.
    """
    outs = [folder / f"run-{number}" for number in range(len(bases))]
    for out in outs:
        out.mkdir()
    with ThreadPoolExecutor(len(bases) if device == "cuda" else 1) as pool:
        measured = pool.map(lambda base, out: measure(*base, out, device), bases, outs)
        return max(result.error for results in measured for result in results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["10m", "0.1b", "135m"])
    parser.add_argument("--base", type=Path, help="a model's folder to measure as well")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bases = [(size, make_policy(folder / size, size)) for size in options.sizes]
        if options.base is not None:
            bases.append(("10m", options.base.resolve()))
        error = largest_error(bases, folder, options.device)
    print(f"memory_error: {error:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
