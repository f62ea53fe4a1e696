"""Labels per second by a judge on this machine with twelve principles, against the engine of an earlier commit.

    python benchmarks/local_judge.py [--baseline DIR] [--model DIR] [--device cpu] [--pairs 16] [--rounds 2]

A label is a pair and a principle, asked in both orders, with the principle last in the question. Both engines ask the
model the same questions about the same pairs (conversations of 70 to 200 tokens, responses of 20 to 140), each in the
order of its label stages: the earlier one principle after principle, ours all principles of a pair at once. Of the
earlier one's principles one is measured, for they cost the same. Each engine has a process of its own; a figure is the
best of its rounds, which alternate.

`--baseline` is a checkout of the commit to compare with; without it, one of 49c57f3 is made from this repository.
Without `--model`, the model is a random one of a tenth of a billion parameters. The last line is `judge: 9.5`, the
ratio of the rates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import repository

BASELINE = "49c57f3"
PRINCIPLES = ("more helpful", "less toxic", "more factual", "more concise", "more empathetic", "less biased",
              "easier to understand", "more detailed", "less sycophantic", "more relevant", "more ethical",
              "better reasoned")
SENTENCE = "The lighthouse keeper counts the boats that leave the harbour before the sun is up."


@dataclass(frozen=True)
class Work:
    """What one process asks: the root of its engine, and whether that reads all principles of a pair at once."""

    root: str
    at_once: bool
    model: str
    pairs: int
    device: str


def pairs_of(count: int) -> list[tuple[str, str, str]]:
    """Conversations and two responses each, of many lengths."""
    chosen = random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join([SENTENCE] * chosen.randint(least, most)) + f" {chosen.randint(0, 999)}"

    return [(text(4, 11), text(1, 8), text(1, 8)) for _ in range(count)]


def answer(work: Work) -> None:
    """Ask once for each line on stdin, and print the labels per second; a first round of one pair warms up."""
    sys.path.insert(0, work.root)
    import training
    from training.config import JudgeSettings
    from training.judges import judge as judges
    from training.models import language_model
    from training.models.stage_judge import make_stage_judge

    assert Path(training.__file__).is_relative_to(work.root), "the other engine was imported"
    pick = language_model.pick_device
    language_model.pick_device = lambda *_: pick(work.device)
    judge = make_stage_judge(JudgeSettings(kind="local", model=work.model, layout="shared_prefix"))

    question = getattr(judges, "PairQuestion", None) or judges.Comparison  # its name at the baseline

    def ask(pairs: list[tuple[str, str, str]]) -> float:
        statements = PRINCIPLES if work.at_once else PRINCIPLES[:1]
        items = [question([{"role": "user", "content": prompt}], a, b, statement, statement)
                 for prompt, a, b in pairs for statement in statements]
        began = time.perf_counter()
        verdicts = asyncio.run(judge.compare(items))
        seconds = time.perf_counter() - began
        readable = sum(verdict.probability is not None for verdict in verdicts)
        print(f"{readable} of {len(items)} labels are readable", file=sys.stderr)
        return len(items) / seconds

    ask(pairs_of(1))
    for _ in sys.stdin:
        print(ask(pairs_of(work.pairs)), flush=True)


class Engine:
    """A process that asks on demand."""

    def __init__(self, work: Work) -> None:
        command = [sys.executable, __file__, "--work", json.dumps(asdict(work))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def labels_per_second(self) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write("once more\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which its output says too
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("An engine ended before it had answered; its error stands above.")
        return float(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit of this repository."""
    archive = subprocess.run(["git", "-C", repository.ROOT, "archive", commit], check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory(prefix="concord-baseline-") as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def ratio(baseline: Path, model: Path, device: str, pairs: int, rounds: int) -> float:
    """How many times as many labels per second as the engine of a checkout."""
    works = {"ours": Work(str(repository.ROOT), True, str(model), pairs, device),
             "baseline": Work(str(baseline.resolve()), False, str(model), pairs, device)}
    engines = {name: Engine(work) for name, work in works.items()}
    rates: dict[str, list[float]] = {name: [] for name in works}
    try:
        for _ in range(rounds):
            for name, engine in engines.items():
                rates[name].append(engine.labels_per_second())
                print(f"judge   {name:10} {rates[name][-1]:10.2f} labels/s", flush=True)
    finally:
        for engine in engines.values():
            engine.close()
    return max(rates["ours"]) / max(rates["baseline"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--model", type=Path, help="the folder of a model; default: a random one")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        values: dict[str, Any] = json.loads(options.work)
        answer(Work(**values))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        model = options.model
        if model is None:
            from shapes import make_policy

            model = make_policy(Path(temporary) / "judge", "0.1b")
        if options.baseline:
            times = ratio(options.baseline, model, options.device, options.pairs, options.rounds)
        else:
            with checkout(BASELINE) as baseline:
                times = ratio(baseline, model, options.device, options.pairs, options.rounds)
    print(f"judge: {times:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
