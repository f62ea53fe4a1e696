"""The parts of `gpu.py`, each of which it runs in a process of its own: `python benchmarks/gpu_parts.py PART TASK`.

TASK is a `gpu.Task` in JSON. A part measures with the other benchmarks' code, prints as it goes, and records its
figures in `result.json` of its own folder: as soon as it has them, so that what fails afterwards does not lose them.
What is heavy to import is imported by the part that needs it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ppo_vs_trl
import repository
from gpu import MODELS, PARTS, Task
from ppo_vs_trl import Outcome, Setup


@dataclass(frozen=True)
class Amounts:
    """How much of everything is measured."""

    batch: int = 64
    prompt: int = 32
    response: int = 64
    rounds: int = 3
    steps: int = 4
    peer_steps: int = 2
    judged: int = 32
    models: int = 1
    pairs: int = 192
    shapes: tuple[str, ...] = ("0.1b", "135m")
    """Beside the shape that all parts measure."""

    principles: tuple[str, ...] = ("toxicity", "factuality", "conciseness")
    """Of the road; so are the next."""

    road_pairs: int = 600
    road_steps: int = 10
    road_batch: int = 64


SMALL = Amounts(batch=4, response=8, rounds=1, steps=2, judged=2, pairs=32, shapes=("tiny",), principles=("toxicity",),
                road_pairs=8, road_steps=2, road_batch=4)


class Work:
    """A task on the disk: the models that all parts measure, and where a part records."""

    def __init__(self, name: str, task: Task) -> None:
        self.task = task
        self.amounts = SMALL if task.small else Amounts()
        self.folder = Path(task.folder) / name
        self.policy, self.reward = (Path(task.folder) / MODELS / kind for kind in ("policy", "reward"))
        self.phases_of_ours = Path(task.folder) / "ours.json"

    def record(self, figures: Mapping[str, float], remark: str = "") -> None:
        (self.folder / "result.json").write_text(json.dumps({"figures": figures, "remark": remark}))

    def setup(self) -> Setup:
        return Setup(str(self.policy), str(self.reward), self.task.size, self.task.device, self.task.precision,
                     principles=1, steps=self.amounts.steps, prompt_tokens=self.amounts.prompt,
                     response_tokens=self.amounts.response, batch=self.amounts.batch)


def models(work: Work) -> None:
    """Random weights, made on the device: they take a CPU half a minute."""
    import torch
    from shapes import make_policy, make_reward_model

    with torch.device(work.task.device):
        make_policy(work.policy, work.task.size)
        make_reward_model(work.reward, work.task.size)


def decode(work: Work) -> None:
    import decode as decoding

    amounts, task = work.amounts, work.task
    language = decoding.load(work.policy, task.device, task.precision)
    ids, mask = decoding.random_prompts(language, task.size, amounts.batch, amounts.response)
    figures = {"decode": decoding.ratio(language, ids, mask, amounts.response, amounts.rounds)}
    work.record(figures)
    if task.precision != "fp32":
        del language
        language = decoding.load(work.policy, task.device, "fp32")
    work.record(figures, decoding.difference(language, ids, mask))


def phases(work: Work, name: str, root: Path = repository.ROOT) -> Outcome:
    """Phases by the engine of a checkout."""
    outcome = ppo_vs_trl.ours(work.setup(), root)
    print(outcome.line(name, work.amounts.batch), flush=True)
    return outcome


def ppo(work: Work) -> None:
    ours = phases(work, "ours")
    work.phases_of_ours.write_text(json.dumps(asdict(ours)))
    speed, memory = ppo_vs_trl.ratios(ours, phases(work, "earlier", Path(work.task.baseline)), work.amounts.batch)
    work.record({"ppo": speed, "memory": memory, "phase_s": min(ours.seconds[1:])})


def against_trl(work: Work) -> None:
    """Ours is measured once: where it was for the part before, that counts."""
    if work.phases_of_ours.exists():
        ours = Outcome(**json.loads(work.phases_of_ours.read_text()))
    else:
        ours = phases(work, "ours")
    peer = ppo_vs_trl.theirs(replace(work.setup(), steps=work.amounts.peer_steps))
    print(peer.line("TRL 1.12.0", work.amounts.batch), flush=True)
    speed, memory = ppo_vs_trl.ratios(ours, peer, work.amounts.batch)
    work.record({"ppo_vs_trl": speed, "memory": memory})


def judge(work: Work) -> None:
    import local_judge

    work.record({"judge": local_judge.ratio(Path(work.task.baseline), work.policy, work.task.device,
                                            work.amounts.judged, work.amounts.rounds)})


def preference_models(work: Work) -> None:
    """Of the twelve one is timed, after another that warms up: they cost the same."""
    import preference_model_training as training_benchmark

    task, amounts = work.task, work.amounts
    compared = training_benchmark.compare(training_benchmark.parse([
        "--baseline", task.baseline, "--base", str(work.policy), "--size", task.size, "--device", task.device,
        "--precision", task.precision, "--models", str(amounts.models), "--pairs", str(amounts.pairs)]))
    work.record({"pm": compared.speed, "memory": compared.memory, "loss_difference": compared.difference})


def memory_error(work: Work) -> None:
    import memory
    import torch
    from shapes import make_policy

    with torch.device(work.task.device):
        bases = [(shape, make_policy(work.folder / shape, shape)) for shape in work.amounts.shapes]
    bases.append((work.task.size, work.policy))
    work.record({"memory_error": memory.largest_error(bases, work.folder, work.task.device)})


def road_recipe(task: Task, amounts: Amounts) -> dict[str, Any]:
    """From prompts to a policy that was evaluated, by one model: policy, judge and base of the preference models."""
    data = {"source": task.data} if task.data else {}
    return {
        "name": "Road", "device": task.device, "precision": task.precision, "data": {**data, "held_out": 32},
        "principles": [{"name": name} for name in amounts.principles],
        "judge": {"kind": "local", "model": task.model, "layout": "shared_prefix", "max_pairs": amounts.road_pairs,
                  "most_flips": 1},  # what is timed is the road, not whether so small a model can judge
        "policy": {"base": task.model},
        "preference_model": {"base": task.model, "epochs": 1, "max_length": 256, "stop_at_chance": False},
        "sample": {"count": amounts.road_pairs, "max_new_tokens": amounts.response},
        "ppo": {"steps": amounts.road_steps, "batch_size": amounts.road_batch, "max_new_tokens": amounts.response},
        "evaluate": {"prompts": amounts.batch, "max_new_tokens": amounts.response},
    }  # fmt: skip


def road(work: Work) -> None:
    from training.config import check_recipe
    from training.recipe_run import run_recipe
    from training.run.jobs import DONE

    recipe = check_recipe(road_recipe(work.task, work.amounts))
    say = partial(print, flush=True)
    began = time.monotonic()
    code = run_recipe(recipe, work.folder / "run", tell=say, tell_error=partial(say, file=sys.stderr))
    if code != DONE:
        sys.exit(f"the road ended with {code}")
    work.record({"road_s": time.monotonic() - began})


WORKS = {MODELS: models, "decode": decode, "ppo": ppo, "ppo_vs_trl": against_trl, "judge": judge,
         "pm": preference_models, "memory_error": memory_error, "road_s": road}
assert set(WORKS) == {MODELS, *PARTS}


def main() -> None:
    name, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    WORKS[name](Work(name, task))


if __name__ == "__main__":
    main()
