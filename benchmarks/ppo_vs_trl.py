"""PPO against TRL 1.12.0's PPOTrainer, the last there was: samples a second, peak memory, and what is learnt.

    python benchmarks/ppo_vs_trl.py [--principles 12] [--device cuda] [--size 0.5b] [--learning]

Both train a policy of one shape (10 million parameters unless told) by LoRA on the same prompts, with the same reward
model, batch, lengths, epochs, precision and device, one minibatch (TRL's `num_mini_batches` changes no number of
steps). With K principles ours has K heads on one trunk and TRL K reward models one after another. Each runs in a
process of its own; TRL's in an environment made under var/ that sees this one's torch and transformers. A phase's
time is the least of those measured. Memory is the peak over what is held once the models are loaded. Ours is also run
with a separate full critic, which is how TRL's works.

`--learning` compares instead what is learnt: the demo world's policy, rewarded by a preference model of toxicity that
is trained first, twelve phases of 64 samples and 4 epochs, five seeds. Gains of the reward are in standard deviations
of the preference model's scores, with 95 % intervals over the seeds: after equal samples, and at a KL of 1 on the way.

The last line is `ratio: 2.8 memory: 0.43`, or with `--learning` `gain: 0.71 against 0.23 at_kl_1: 0.6 against 0.2`.
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
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

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
    prompts_file: str = ""
    """JSONL of prompts, each with its dialogue and its text; without it prompts are random words."""


@dataclass(frozen=True)
class Outcome:
    """Seconds of each phase, peak bytes, reward and KL of each phase."""

    seconds: list[float]
    memory: int
    reward: list[float]
    kl: list[float]

    def samples_per_second(self, batch: int) -> float:
        return batch / min(self.seconds[1:])  # the first phase warms up

    def line(self, name: str, batch: int) -> str:
        """What was measured, for people."""
        return (f"{name:22} {self.samples_per_second(batch):8.2f} samples/s   "
                f"peak {self.memory / 2**20:7.0f} MiB over the models   "
                f"phases {' '.join(f'{seconds:.2f}' for seconds in self.seconds)} s")


class Ratios(NamedTuple):
    """Ours over another's: samples a second, and the peak of memory."""

    speed: float
    memory: float


def ratios(mine: Outcome, other: Outcome, batch: int) -> Ratios:
    return Ratios(mine.samples_per_second(batch) / other.samples_per_second(batch), mine.memory / max(1, other.memory))


def heads_of(setup: Setup) -> Any:
    """The reward model as a scorer: K heads on one trunk, read at the response's last token, as TRL reads its own."""
    import torch
    from shapes import dtype_of
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from training.dialogue import generation_prompt
    from training.models import fast_layers

    class Heads:
        def __init__(self) -> None:
            self.names = [f"principle{i}" for i in range(setup.principles)]
            self.tokenizer = AutoTokenizer.from_pretrained(setup.policy)
            model = AutoModelForSequenceClassification.from_pretrained(
                setup.reward, num_labels=1, dtype=dtype_of(setup.precision))
            self.model = model.to(setup.device).eval().requires_grad_(False)
            fast_layers.prepare(self.model, torch.device(setup.device))  # as every trunk of our preference models
            self.heads = model.score.weight.float().expand(setup.principles, -1)
            self.mean = torch.zeros(setup.principles, device=setup.device)
            self.std = torch.ones(setup.principles, device=setup.device)

        def text(self, prompt: Any, response: str) -> str:
            if not setup.prompts_file:
                return f"{prompt[0]['content']} {response}"
            return f"{generation_prompt(prompt)} {response}{self.tokenizer.eos_token}"

        @torch.no_grad()
        def score_raw(self, prompts: Sequence[Any], responses: Sequence[str], batch_size: int = 64) -> Any:
            pieces = []
            for start in range(0, len(responses), batch_size):
                part = slice(start, start + batch_size)
                texts = [self.text(prompt, response)
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

    def load_rewards(job: Job, device: torch.device, reporter: object = None) -> PrincipleRewards:
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
        prompts_file = Path(setup.prompts_file)
        if not setup.prompts_file:
            prompts = make_prompts(setup.prompts, setup.prompt_tokens, setup.shape)
            prompts_file = folder / "prompts.jsonl"
            write_jsonl(prompts_file, [{"prompt": [{"role": "user", "content": text}]} for text in prompts])
        write_json(folder / "weights" / "weights.json", {"weights": {}})
        job = Job(name="ppo", kind="ppo", identity="benchmark", settings=stage.settings,
                  inputs={"weights": folder / "weights"}, files={"prompts": prompts_file})
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


def ours(setup: Setup, root: Path = repository.ROOT) -> Outcome:
    """Phases by the engine of a checkout. One from before a setting was there knows nothing of it: what is not set is
    not told."""
    values = {field.name: getattr(setup, field.name) for field in fields(setup)
              if getattr(setup, field.name) != field.default}
    return in_a_process([sys.executable, root / "benchmarks" / "ppo_vs_trl.py", "--ours", json.dumps(values)])


def theirs(setup: Setup) -> Outcome:
    """Phases by TRL 1.12.0, also where another TRL stands in PYTHONPATH."""
    python = peer_python()
    own = next(python.parent.parent.glob("lib/python3*/site-packages"))
    path = os.pathsep.join([str(own), *filter(None, [os.environ.get("PYTHONPATH")])])
    return in_a_process([python, Path(__file__).with_name("trl_peer.py"), json.dumps(asdict(setup))],
                        {"PYTHONPATH": path})


def compare_speed(setup: Setup) -> str:
    """Ours, ours with a separate critic, and TRL's: a line each, and the last line."""
    results = {}
    sides = {"ours": (ours, setup), "ours, separate critic": (ours, replace(setup, critic="separate")),
             "TRL 1.12.0": (theirs, setup)}  # fmt: skip
    for name, (side, setup_of_side) in sides.items():
        results[name] = side(setup_of_side)
        print(results[name].line(name, setup.batch), flush=True)
    speed, memory = ratios(results["ours"], results["TRL 1.12.0"], setup.batch)
    return f"ratio: {speed:.2f} memory: {memory:.2f}"


def learning_setup(folder: Path) -> Setup:
    """The demo world's policy and prompts, and a preference model of toxicity that is trained here."""
    import torch
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    from training import preference_models as pm
    from training.config import shipped_recipe
    from training.demo_world import WEIGHTS
    from training.dialogue import generation_prompt
    from training.preference_models.model import load_head
    from training.preference_models.scoring import merged_trunk
    from training.recipe_run import run_recipe
    from training.run.artifacts import read_json, read_jsonl, write_jsonl

    recipe = shipped_recipe("demo")
    recipe = recipe.model_copy(update={"principles": tuple(
        choice for choice in recipe.principles if choice.name == "toxicity")})
    out = folder / "run"
    for stage in ("sample", "label:toxicity", "preference_model:toxicity"):
        if run_recipe(recipe, out, only=stage) != 0:
            sys.exit(f"the stage {stage} failed")
    trained = out / read_json(out / "stages.json")["preference_model:toxicity"]
    trunk = pm.load_trunk(WEIGHTS, "cpu", "fp32")
    trunk.config.num_labels = 1
    reward = LlamaForSequenceClassification(trunk.config)
    reward.model.load_state_dict(merged_trunk(trunk, trained, "demo-world", "cpu").state_dict())
    head = load_head(trained, trunk.config.hidden_size, "cpu")
    with torch.no_grad():
        reward.score.weight.copy_(head.weight / read_json(trained / "card.json")["std"])
    reward.save_pretrained(folder / "reward")
    AutoTokenizer.from_pretrained(WEIGHTS).save_pretrained(folder / "reward")
    rows = list(read_jsonl(out / "data" / "prompts.jsonl"))[:1024]
    write_jsonl(folder / "prompts.jsonl", ({"prompt": row["prompt"], "text": generation_prompt(row["prompt"])}
                                           for row in rows))
    return Setup(str(WEIGHTS), str(folder / "reward"), "demo-world", "cpu", "fp32", principles=1, steps=12,
                 response_tokens=24, learning_rate=1e-3, kl=0.05, prompts_file=str(folder / "prompts.jsonl"))


def compare_learning(setup: Setup, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> str:
    """The gain of each seed of each side after equal samples and at a KL of 1, and their means with intervals."""
    lines: dict[str, list[str]] = {"gain": [], "at_kl_1": []}
    for name, side in (("ours", ours), ("TRL 1.12.0", theirs)):
        gains, gains_at_kl = [], []
        for seed in seeds:
            result = side(replace(setup, seed=seed))
            gains.append(sum(result.reward[-3:]) / 3 - result.reward[0])
            gains_at_kl.append(gain_at_kl(result, 1.0))
            print(f"{name:12} seed {seed}   gain {gains[-1]:+.2f} at KL {sum(result.kl[-3:]) / 3:.2f}   "
                  f"gain at KL 1: {gains_at_kl[-1]:+.2f}   rewards "
                  f"{' '.join(f'{reward:+.2f}' for reward in result.reward)}", flush=True)
        for key, values in (("gain", gains), ("at_kl_1", gains_at_kl)):
            mean, half = mean_and_half_interval([value for value in values if value == value])
            lines[key].append(f"{mean:.2f}")
            print(f"{name:12} {key}: {mean:+.2f}, 95 % from {mean - half:+.2f} to {mean + half:+.2f}", flush=True)
    return " ".join(f"{key}: {mine} against {peer}" for key, (mine, peer) in lines.items())


def gain_at_kl(result: Outcome, kl: float) -> float:
    """The reward's gain where the KL is first this large, read off a line between two phases; NaN if it never is."""
    points = list(zip(result.kl, result.reward, strict=True))
    for (kl_before, before), (kl_after, after) in zip(points, points[1:], strict=False):
        if kl_before < kl <= kl_after:
            return before + (after - before) * (kl - kl_before) / (kl_after - kl_before) - result.reward[0]
    return float("nan")


def mean_and_half_interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half of its 95 % interval (Student's t)."""
    t = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}.get(len(values), float("nan"))
    if len(values) < 2:
        return (values[0] if values else float("nan")), float("nan")
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, t * (variance / len(values)) ** 0.5


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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.learning:
            print(compare_learning(learning_setup(folder)))
            return 0
        from shapes import make_policy, make_reward_model

        shape = options.size
        setup = Setup(str(make_policy(folder / "policy", shape)), str(make_reward_model(folder / "reward", shape)),
                      shape, options.device, "bf16" if options.device == "cuda" else "fp32", options.principles,
                      steps=options.steps)
        print(compare_speed(setup))
    return 0


if __name__ == "__main__":
    sys.exit(main())
