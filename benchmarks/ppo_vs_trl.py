"""PPO against TRL 1.12.0's PPOTrainer, the last there was: samples a second, peak memory, and what is learnt.

    python benchmarks/ppo_vs_trl.py [--principles 12] [--device cuda] [--size 0.5b] [--learning]

Both train a policy of one shape (10 million parameters unless told) by LoRA on the same prompts, with the same reward
model, batch, lengths, epochs, precision and device, one minibatch (TRL's `num_mini_batches` changes no number of
steps). With K principles ours has K heads on one trunk and TRL K reward models one after another. Each runs in a
process of its own; TRL's in an environment made under var/ that sees this one's torch and transformers. A phase's
time is the least of those measured. Memory is the peak over what is held once the models are loaded. Ours is also run
with a separate full critic, which is how TRL's works.

`--learning` compares instead reward and KL after equal samples over three seeds, at one learning rate, on a tiny
policy.

The last line is `ratio: 2.8 memory: 0.43`, or with `--learning` `reward: 0.31 against 0.28 kl: 2.1 against 2.4`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import repository

PEER = repository.ROOT / "var" / "trl-1.12.0"
PACKAGE = "trl==1.12.0"


@dataclass(frozen=True)
class Setup:
    """What both sides are told."""

    policy: str
    reward: str
    shape: str
    device: str
    precision: str
    principles: int
    critic: str = "shared"
    batch: int = 64
    prompt_tokens: int = 32
    response_tokens: int = 64
    epochs: int = 4
    steps: int = 4
    prompts: int = 256
    learning_rate: float = 4e-6
    kl: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Seconds of each phase, peak bytes, reward and KL of each phase."""

    seconds: list[float]
    memory: int
    reward: list[float]
    kl: list[float]

    def samples_per_second(self, batch: int) -> float:
        return batch / min(self.seconds[1:])  # the first phase warms up


def heads_of(setup: Setup) -> Any:
    """The reward model as a scorer: K heads on one trunk, read at the response's last token, as TRL reads its own."""
    import torch
    from shapes import dtype_of
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    class Heads:
        def __init__(self) -> None:
            self.names = [f"principle{i}" for i in range(setup.principles)]
            self.tokenizer = AutoTokenizer.from_pretrained(setup.policy)
            model = AutoModelForSequenceClassification.from_pretrained(
                setup.reward, num_labels=1, dtype=dtype_of(setup.precision))
            self.model = model.to(setup.device).eval().requires_grad_(False)
            self.heads = model.score.weight.float().expand(setup.principles, -1)
            self.mean = torch.zeros(setup.principles, device=setup.device)
            self.std = torch.ones(setup.principles, device=setup.device)

        @torch.no_grad()
        def score_raw(self, prompts: Sequence[Any], responses: Sequence[str], batch_size: int = 64) -> Any:
            pieces = []
            for start in range(0, len(responses), batch_size):
                part = slice(start, start + batch_size)
                texts = [f"{prompt[0]['content']} {response}"
                         for prompt, response in zip(prompts[part], responses[part], strict=True)]
                batch = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").to(setup.device)
                batch.pop("token_type_ids", None)
                hidden = self.model.model(**batch, use_cache=False).last_hidden_state
                last = hidden[torch.arange(len(hidden)), batch["attention_mask"].sum(1) - 1]
                pieces.append(last.float() @ self.heads.T)
            return torch.cat(pieces)

    return Heads()


def recipe_of(setup: Setup) -> dict[str, Any]:
    """Our defaults but for what both sides are told."""
    names = [{"name": f"principle{i}", "statement": "better"} for i in range(setup.principles)]
    settings: dict[str, Any] = {
        "steps": setup.steps, "batch_size": setup.batch, "epochs": setup.epochs, "minibatches": 1,
        "learning_rate": setup.learning_rate, "warmup_steps": 0, "max_new_tokens": setup.response_tokens,
        "no_eos_penalty": 0, "kl": {"coefficient": setup.kl, "adaptive": False}, "sample_prompts": 0,
        "checkpoint_every": 10_000,
    }
    if setup.critic != "shared":
        settings["critic"] = setup.critic
    return {
        "principles": names, "policy": {"base": setup.policy}, "device": setup.device, "precision": setup.precision,
        "seed": setup.seed, "ppo": settings, "judge": {"kind": "rule"},
    }  # fmt: skip


def run_ours(setup: Setup) -> Outcome:
    """The stage itself, in this process, told of the reward model."""
    import torch
    from shapes import Memory, make_prompts

    from tests.training.tiny_models import Remembering
    from training.config import Recipe, Scalarization
    from training.reward.rewards import PrincipleRewards
    from training.run.artifacts import Job, write_json, write_jsonl
    from training.run.pipeline import plan
    from training.stages import ppo

    memory, ends = Memory(setup.device), []

    def load_rewards(job: Job, device: torch.device) -> PrincipleRewards:
        scorer = heads_of(setup)
        weights = dict.fromkeys(scorer.names, 1 / setup.principles)
        rewards = PrincipleRewards(scorer, weights, Scalarization(function="linear"))
        memory.mark()
        ends.append(time.monotonic())
        return rewards

    class Watch(Remembering):
        def progress(self, done: int, total: int, unit: str = "step") -> None:
            ends.append(time.monotonic())

    stage = next(stage for stage in plan(Recipe.model_validate(recipe_of(setup))) if stage.kind == "ppo")
    ppo.load_rewards = load_rewards  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prompts = make_prompts(setup.prompts, setup.prompt_tokens, setup.shape)
        write_jsonl(folder / "prompts.jsonl", [{"prompt": [{"role": "user", "content": text}]} for text in prompts])
        write_json(folder / "weights" / "weights.json", {"weights": {}})
        job = Job(name="ppo", kind="ppo", identity="benchmark", settings=stage.settings,
                  inputs={"weights": folder / "weights"}, files={"prompts": folder / "prompts.jsonl"})
        watch = Watch()
        ppo.run(job, folder / "run", watch)
    metrics = [watch.metrics[step] for step in sorted(watch.metrics)]
    return Outcome([after - before for before, after in zip(ends, ends[1:], strict=False)], memory.peak(),
                   [values["reward/total"] for values in metrics], [values["kl/mean"] for values in metrics])


def peer_python() -> Path:
    """The interpreter of TRL's environment, made at the first call: its own TRL, everything else from this one."""
    python = PEER / "bin" / "python"
    packages = PEER / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if not (packages / "trl").is_dir():
        shutil.rmtree(PEER, ignore_errors=True)
        venv.create(PEER, with_pip=False)
        ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
        (packages / "concord.pth").write_text(f"{ours}\n")  # searched after its own: its TRL hides ours
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--target", str(packages), PACKAGE], check=True)
    return python


def in_a_process(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Outcome:
    """Run one side and read its last line."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                         env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                              **(environment or {})})
    if ran.returncode != 0:
        sys.exit(f"{command[1]} failed:\n{ran.stderr[-4000:]}")
    return Outcome(**json.loads(ran.stdout.strip().splitlines()[-1]))


def ours(setup: Setup) -> Outcome:
    return in_a_process([sys.executable, Path(__file__), "--ours", json.dumps(asdict(setup))])


def theirs(setup: Setup) -> Outcome:
    return in_a_process([peer_python(), Path(__file__).with_name("trl_peer.py"), json.dumps(asdict(setup))])


def compare_speed(setup: Setup) -> str:
    """Ours, ours with a separate critic, and TRL's: a line each, and the last line."""
    results = {}
    sides = {"ours": (ours, setup), "ours, separate critic": (ours, replace(setup, critic="separate")),
             "TRL 1.12.0": (theirs, setup)}  # fmt: skip
    for name, (side, setup_of_side) in sides.items():
        results[name] = side(setup_of_side)
        print(f"{name:22} {results[name].samples_per_second(setup.batch):8.2f} samples/s   "
              f"peak {results[name].memory / 2**20:7.0f} MiB over the models   "
              f"phases {' '.join(f'{seconds:.1f}' for seconds in results[name].seconds)} s", flush=True)
    mine, peer = results["ours"], results["TRL 1.12.0"]
    ratio = mine.samples_per_second(setup.batch) / peer.samples_per_second(setup.batch)
    return f"ratio: {ratio:.2f} memory: {mine.memory / peer.memory:.2f}"


def compare_learning(setup: Setup, seeds: Sequence[int] = (0, 1, 2)) -> str:
    """Reward and KL of the last tenth of the phases, each seed of each side, and their means."""
    means = {}
    for name, side in (("ours", ours), ("TRL 1.12.0", theirs)):
        ends = []
        for seed in seeds:
            result = side(replace(setup, seed=seed))
            last = max(1, setup.steps // 10)
            first, reward, kl = (sum(values) / last for values in
                                 (result.reward[:last], result.reward[-last:], result.kl[-last:]))
            ends.append((reward - first, kl))
            print(f"{name:12} seed {seed}   reward {first:+.3f} -> {reward:+.3f}   KL {kl:.2f}", flush=True)
        means[name] = [sum(column) / len(ends) for column in zip(*ends, strict=True)]
    (reward, kl), (their_reward, their_kl) = means["ours"], means["TRL 1.12.0"]
    return f"reward: {reward:+.3f} against {their_reward:+.3f} kl: {kl:.2f} against {their_kl:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--principles", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="10m", choices=["10m", "0.1b", "0.5b", "1.5b"])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--learning", action="store_true")
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(asdict(run_ours(Setup(**json.loads(options.ours))))))
        return 0
    from shapes import make_policy, make_reward_model

    shape = "tiny" if options.learning else options.size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        setup = Setup(str(make_policy(folder / "policy", shape)), str(make_reward_model(folder / "reward", shape)),
                      shape, options.device, "bf16" if options.device == "cuda" else "fp32", options.principles,
                      steps=options.steps)
        if options.learning:
            setup = replace(setup, steps=60, prompt_tokens=8, response_tokens=16, learning_rate=3e-3)
            print(compare_learning(setup))
        else:
            print(compare_speed(setup))
    return 0


if __name__ == "__main__":
    sys.exit(main())
