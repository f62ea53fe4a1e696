"""Sample response pairs: the policy answers each prompt twice, and a judge will say which answer is better.

Both answers come from one policy (RLAIF, arXiv 2309.00267), so the preference models learn to compare what this policy
really says. Two equal answers teach nothing: the second is sampled again, three times at most, and a prompt that
always gets the same answer is left out. Left out: best-of-n, several policies, several temperatures.

There is no checkpoint: a restart samples all batches again, and the same pairs come out, since each has its own seed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from training.config import Policy, SampleSettings
from training.dialogue import Dialogue
from training.errors import BadData
from training.models import language_model, rollouts
from training.models.exactness import check_decoding
from training.models.language_model import LanguageModel
from training.run.artifacts import Job, read_jsonl, write_jsonl
from training.run.pipeline import pair_digest
from training.run.reporting import Reporter

REDRAWS = 3


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write pairs.jsonl.

    Raises:
        BadData: there are no prompts, or the policy never gives two different answers.
        ModelUnavailable: the policy's base cannot be loaded.
    """
    settings = SampleSettings.model_validate(job.settings["sample"])
    policy = Policy.model_validate(job.settings["policy"])
    prompts = spread([row["prompt"] for row in read_jsonl(job.files["prompts"])], settings.count)
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else policy.base
    language = language_model.load(
        base, language_model.pick_device(job.settings["device"]), job.settings["precision"]
    )
    check_decoding(language, "policy.base")
    reporter.rewind(0)  # a restart samples all of it again, with the same result
    pairs: dict[str, dict[str, Any]] = {}
    step_size = max(1, settings.batch_size // 2)
    for step, start in enumerate(range(0, len(prompts), step_size)):
        began = time.monotonic()
        batch = prompts[start : start + step_size]
        generator = torch.Generator().manual_seed(job.settings["seed"] * 1_000_003 + step)
        answer_pairs, tokens = _draw_pairs(language, batch, settings, generator)
        for prompt, (a, b) in zip(batch, answer_pairs, strict=True):
            if a != b:
                digest = pair_digest(list(prompt), a, b)
                pairs[digest] = {"digest": digest, "prompt": prompt, "a": a, "b": b, "human": None}
        seconds = time.monotonic() - began
        reporter.metric(step + 1, {
            "response/length": tokens / (2 * len(batch)),
            "sample/pairs": len(pairs),
            "throughput/samples_per_second": 2 * len(batch) / seconds,
        })  # fmt: skip
        reporter.progress(min(start + step_size, len(prompts)), len(prompts), "prompt")
        reporter.checkpoint_if_stopped(lambda: None)  # nothing to save: a restart samples the same
    if not pairs:
        raise BadData(
            "The policy gave the same answer twice to every prompt.", "Raise the sampling temperature or the count."
        )
    write_jsonl(folder / "pairs.jsonl", pairs.values())
    reporter.artifact("pairs", "pairs.jsonl")


def spread(prompts: list[Dialogue], count: int) -> list[Dialogue]:
    """`count` prompts in order, repeated from the first if there are fewer.

    Raises:
        BadData: there are none.
    """
    if not prompts:
        raise BadData("There are no prompts to sample responses to.", "Import a dataset with prompts.")
    return [prompts[i % len(prompts)] for i in range(count)]


def _draw_pairs(
    language: LanguageModel, prompts: list[Dialogue], settings: SampleSettings, generator: torch.Generator
) -> tuple[list[tuple[str, str]], int]:
    """Two answers to each prompt, different where a few redraws can make them so, and the tokens of all first draws."""
    sampling = rollouts.Sampling(settings.max_new_tokens, settings.temperature)
    ids, mask = rollouts.pad_prompts(language, [*prompts, *prompts], settings.max_new_tokens)
    rollout = rollouts.generate(language, ids, mask, sampling, generator)
    answers = rollouts.texts(language, rollout)
    first, second = answers[: len(prompts)], answers[len(prompts) :]
    for _ in range(REDRAWS):
        same = [i for i in range(len(prompts)) if first[i] == second[i]]
        if not same:
            break
        again = rollouts.texts(language, rollouts.generate(language, ids[same], mask[same], sampling, generator))
        for i, answer in zip(same, again, strict=True):
            second[i] = answer
    return list(zip(first, second, strict=True)), int(rollout.mask.sum())
