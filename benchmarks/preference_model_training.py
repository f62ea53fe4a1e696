"""Speed and memory of training preference models, against an earlier state of the engine: same pairs, same settings.

    python benchmarks/preference_model_training.py [--baseline DIR] [--size demo] [--models 12] [--pairs 400]
                                                   [--dropout 0.0] [--precision fp32] [--device cpu]

DIR is a checkout of the commit to compare with; without it, commit 49c57f3 of this repository. A preference model is a
whole stage, from reading the pairs to its card: base loaded, two epochs of a batch of 32, all pairs scored. Each engine
is a process of its own; they take turns, a model each, the first of each to warm up. `demo` is the demo world's base
with answers as its policy gives them, another size a random Llama (prompts of 64 tokens, responses of 24 to 72).

The last line is `pm: 3.2 memory: 0.5`: pairs per second at the median of all models, ours over the earlier engine's,
and the peak of memory above the imported libraries, likewise; before it stands the same ratio of CPU seconds. Without
dropout it ends with 1 where the losses of a step differ by over 0.01.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import repository
from local_judge import BASELINE, checkout
from shapes import SHAPES, Memory, make_policy, make_prompts

BATCH, EPOCHS = 32, 2
MOST_DIFFERENCE = 0.01


class Trained(NamedTuple):
    """One model: how long its stage took on the clock and of the CPU, its peak of memory, the loss of every step."""

    seconds: float
    cpu_seconds: float
    memory: int
    losses: list[float]


class Compared(NamedTuple):
    """Ours over the earlier engine's pairs a second and peak of memory; the largest difference of a step's loss."""

    speed: float
    memory: float
    difference: float


class Engine:
    """A process that trains with the code of one checkout."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, "--work", str(root)], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def train(self, job: dict[str, Any], folder: Path) -> Trained:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([job, str(folder)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("An engine ended before it had trained; its error stands above.")
        return Trained(*json.loads(line))

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def work(root: str) -> None:
    """Train what is asked for, line by line, with the engine of a checkout."""
    sys.path.insert(0, root)
    import transformers

    from training.run.artifacts import Job, read_jsonl
    from training.run.reporting import EventFile
    from training.stages import preference_model

    transformers.logging.set_verbosity_error()
    assert Path(preference_model.__file__).is_relative_to(root)
    memory: Memory | None = None
    for line in sys.stdin:
        job, folder = json.loads(line)
        reporter = EventFile(Path(folder) / "events.jsonl", lambda: False)
        if memory is None:  # marked once: what a model leaves with the allocator belongs to the next one's peak
            memory = Memory(job["settings"]["device"])
            memory.mark()
        began, cpu_began = time.perf_counter(), time.process_time()
        preference_model.run(Job(**job), Path(folder), reporter)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        reporter.close()
        losses = [event["values"]["pm/loss"] for event in read_jsonl(Path(folder) / "events.jsonl")
                  if event["kind"] == "metric"]
        print(json.dumps([seconds, cpu_seconds, memory.peak(), losses]), flush=True)


def demo_pairs(count: int) -> list[dict[str, Any]]:
    from training.demo_world.language import dialogue

    rng = random.Random(0)
    pairs = []
    for index in range(count):
        prompt, a = dialogue(rng)
        pairs.append({"digest": f"{index:032x}", "prompt": [{"role": "user", "content": prompt}], "a": a,
                      "b": dialogue(rng, prompt)[1]})
    return pairs


def random_pairs(count: int, size: str) -> list[dict[str, Any]]:
    rng = random.Random(0)
    prompts, a, b = (make_prompts(count, words, size, seed) for seed, words in enumerate((64, 72, 72)))
    return [{"digest": f"{index:032x}", "prompt": [{"role": "user", "content": prompt}],
             "a": " ".join(a[index].split()[:rng.randint(24, 72)]),
             "b": " ".join(b[index].split()[:rng.randint(24, 72)])} for index, prompt in enumerate(prompts)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jobs(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A job for each model, and one before them to warm up."""
    is_demo = options.size == "demo"
    base = "demo-world" if is_demo else str(options.base or make_policy(folder / "base", options.size))
    pairs = demo_pairs(options.pairs) if is_demo else random_pairs(options.pairs, options.size)
    pairs_file = write(folder / "pairs.jsonl", pairs)
    made = []
    for number in range(options.models + 1):
        rng = random.Random(number)
        labels = [{"pair": pair["digest"], "probability": rng.choice([0.05, 0.3, 0.7, 0.95])} for pair in pairs]
        settings = {"base": base, "epochs": EPOCHS, "learning_rate": 1e-3, "batch_size": BATCH, "max_length": 256,
                    "lora": {"r": 16, "alpha": 32, "dropout": options.dropout}}
        common = {"seed": number, "device": options.device, "precision": options.precision,
                  "principle": f"principle {number}"}
        labels_file = write(folder / f"labels-{number}.jsonl", labels)
        made.append({"name": "preference_model", "kind": "preference_model", "identity": "0" * 64,
                     "settings": common | {"preference_model": settings},
                     "files": {"pairs": str(pairs_file), "labels": str(labels_file)}})
    return made


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--size", default="demo", choices=["demo", *SHAPES])
    parser.add_argument("--base", type=Path, help="the folder of a model of that size; default: one made here")
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--work", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def compare(options: argparse.Namespace) -> Compared:
    """Train with both engines in turn, and print what each needed."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as context:
        folder = Path(temporary)
        earlier_root = options.baseline or context.enter_context(checkout(BASELINE))
        engines = {"ours": Engine(repository.ROOT), "earlier": Engine(earlier_root.resolve())}
        all_trained: dict[str, list[Trained]] = {name: [] for name in engines}
        for number, job in enumerate(jobs(options, folder)):
            for name, engine in engines.items():
                at = folder / f"{name}-{number}"
                at.mkdir()
                all_trained[name].append(engine.train(job, at))
            ours, earlier = (trained[-1] for trained in all_trained.values())
            print(f"model {number:2}  ours {ours.seconds:6.2f} s  earlier {earlier.seconds:6.2f} s  "
                  f"last loss {ours.losses[-1]:.5f} and {earlier.losses[-1]:.5f}", flush=True)
        for engine in engines.values():
            engine.close()
    return report(all_trained, options.pairs)


def report(all_trained: dict[str, list[Trained]], pairs: int) -> Compared:
    """Print the figures of both engines."""
    differences = [abs(a - b) for ours, earlier in zip(*all_trained.values(), strict=True)
                   for a, b in zip(ours.losses, earlier.losses, strict=True)]
    seconds, cpu_seconds, memory = {}, {}, {}
    for name, trained in all_trained.items():
        timed = trained[1:]  # the first warms up
        seconds[name] = median(model.seconds for model in timed)
        cpu_seconds[name] = median(model.cpu_seconds for model in timed)
        memory[name] = max(model.memory for model in timed)
        print(f"{name:8} {pairs * EPOCHS / seconds[name]:8.1f} pairs/s   {cpu_seconds[name]:.2f} CPU seconds   "
              f"peak {memory[name] / 2**20:.0f} MiB over the libraries")
    print(f"largest difference of a step's loss: {max(differences):.2g}   "
          f"ratio of CPU seconds: {cpu_seconds['earlier'] / cpu_seconds['ours']:.2f}", flush=True)
    return Compared(seconds["earlier"] / seconds["ours"], memory["ours"] / max(1, memory["earlier"]), max(differences))


def main() -> int:
    options = parse()
    if options.work:
        work(options.work)
        return 0
    compared = compare(options)
    print(f"pm: {compared.speed:.2f} memory: {compared.memory:.2f}")
    return int(not options.dropout and options.precision == "fp32" and compared.difference > MOST_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
