"""Speed on a GPU with a model of real size, against transformers and against an earlier state of the engine.

    python benchmarks/gpu.py --baseline DIR [--size 0.5b] [--device cuda] [--steps 4]

DIR is a checkout of the commit to compare with (`git worktree add DIR COMMIT`). Random weights in bf16, a policy with
LoRA on all layers, batches of 64 prompts of 32 tokens, responses of 64:

    decode   tokens per second within a batch, against `generate` with the same LoRA policy
    ppo      samples per second of a phase with one preference model and 4 epochs, against the earlier engine
    judge    labels per second of a local judge with twelve principles, against the earlier engine (local_judge.py)

A figure is the best of its rounds; the first warms up. The last line is `decode: 14.0 ppo: 6.5 memory: 0.9
judge: 9.5`, ratios of one run; memory is the peak over the models, ours over the earlier engine's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import local_judge
import repository
import torch
from ppo_vs_trl import Outcome, Setup, in_a_process
from shapes import SHAPES, make_policy, make_prompts, make_reward_model

from training.config import Lora
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel

BATCH, PROMPT, RESPONSE, ROUNDS, JUDGED = 64, 32, 64, 3, 32


def adapted_policy(folder: Path, device: str, precision: str) -> LanguageModel:
    """The policy with a random adapter, so that merging it is work."""
    policy = language_model.load(folder, torch.device(device), precision)
    torch.manual_seed(0)
    policy = language_model.add_adapter(policy, Lora(r=16, alpha=32))
    for parameter in language_model.trainable_parameters(policy):
        torch.nn.init.normal_(parameter, std=0.02)
    return policy


def best_seconds(work: Callable[[], Any], device: str) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def decoding(folder: Path, shape: str, device: str, precision: str) -> float:
    """How many times as fast as `generate` responses are decoded, merging the adapter included."""
    policy = adapted_policy(folder, device, precision)
    prompts = [[{"role": "user", "content": text}] for text in make_prompts(BATCH, PROMPT, shape)]
    ids, mask = rollouts.pad_prompts(policy, prompts, RESPONSE)
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        with language_model.merged(policy):
            rollouts.generate(policy, ids, mask, rollouts.Sampling(RESPONSE), generator)

    @torch.no_grad()
    def peer() -> None:
        policy.adapter.generate(input_ids=ids, attention_mask=mask, max_new_tokens=RESPONSE, do_sample=True, top_k=0,
                                top_p=1.0, temperature=1.0, pad_token_id=policy.pad_id)

    seconds = {"ours": best_seconds(ours, device), "generate": best_seconds(peer, device)}
    for name, value in seconds.items():
        print(f"decode  {name:10} {BATCH * RESPONSE / value:10.0f} tokens/s", flush=True)
    return seconds["generate"] / seconds["ours"]


def phases(name: str, root: Path, setup: Setup) -> Outcome:
    """Phases of PPO by the engine of a checkout, in a process of its own."""
    outcome = in_a_process([sys.executable, root / "benchmarks" / "ppo_vs_trl.py", "--ours", json.dumps(asdict(setup))])
    print(f"ppo     {name:10} {outcome.samples_per_second(setup.batch):10.2f} samples/s   "
          f"peak {outcome.memory / 2**20:.0f} MiB over the models   "
          f"phases {' '.join(f'{seconds:.2f}' for seconds in outcome.seconds)} s", flush=True)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, required=True, help="a checkout of the commit to compare with")
    parser.add_argument("--size", default="0.5b", choices=sorted(SHAPES))
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=4, help="phases of PPO")
    options = parser.parse_args()
    precision = "bf16" if options.device == "cuda" else "fp32"
    with tempfile.TemporaryDirectory() as temporary:
        with torch.device(options.device):  # random weights take a CPU half a minute
            policy = make_policy(Path(temporary) / "policy", options.size)
            reward = make_reward_model(Path(temporary) / "reward", options.size)
        decode = decoding(policy, options.size, options.device, precision)
        setup = Setup(str(policy), str(reward), options.size, options.device, precision, principles=1,
                      steps=options.steps, prompt_tokens=PROMPT, response_tokens=RESPONSE, batch=BATCH)
        ours, earlier = (phases(name, root, setup) for name, root in
                         (("ours", repository.ROOT), ("baseline", options.baseline)))
        judge = local_judge.ratio(options.baseline, policy, options.device, pairs=JUDGED, rounds=ROUNDS)
    ppo = ours.samples_per_second(BATCH) / earlier.samples_per_second(BATCH)
    print(f"decode: {decode:.1f} ppo: {ppo:.1f} memory: {ours.memory / earlier.memory:.2f} judge: {judge:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
