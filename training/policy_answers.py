"""Answers of several policies to the same prompts, scored on request by the preference models of a run.

    python -m training answer JOB.json --out ANSWERS.jsonl

The job names the policies and what each has yet to answer; every answer is a line of the file as soon as its batch is
done, so that whoever reads it can store it and start the rest again. Policies draw the same random numbers.

Left out: several answers to a prompt, and policies that share a base loaded once.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from training.config import Recipe, Scalarization
from training.dialogue import Dialogue
from training.models import language_model, rollouts
from training.models.language_model import LanguageModel
from training.models.policy_mix import Weighted, mix_policies
from training.reward.loading import load_scorer
from training.reward.rewards import PrincipleRewards
from training.run.artifacts import read_json
from training.run.baselines import measured_rewards, reward_principles
from training.run.model_names import ModelHome, models_at

BATCH = 16


def answer_job(file: Path, out: Path) -> None:
    """Write a line per answer: `policy`, `prompt` (the job's numbers), `text`, with a scorer `reward` and `scores`.

    The job has `prompts` (by number), `policies` (each with `id`, `base`, whether that `is_folder` of a model made
    here, the folders of its adapters with their weights as `parts`, `device`, `precision` and the numbers of its
    `prompts`), `temperature`, `max_new_tokens`, `seed`, `models` (a `ModelHome`), `scorer` (a recipe
    with the folders of its models, or null) and, if wanted, how many prompts a `batch` has.

    Raises:
        ModelUnavailable, OutOfMemory, BadSettings: a policy or a scorer cannot be loaded or is too small.
    """
    job = read_json(file)
    with models_at(ModelHome.from_json(job["models"])), language_model.translate_oom(), out.open("a") as lines:
        rewards = _rewards(job["scorer"]) if job["scorer"] else None
        for policy in job["policies"]:
            prompts = [(number, job["prompts"][str(number)]) for number in policy["prompts"]]
            for numbers, dialogues, texts in _answers(_loaded(policy), prompts, job):
                _write(lines, policy["id"], numbers, texts, _scores(rewards, dialogues, texts))
            gc.collect()  # the next policy needs the room


def _loaded(policy: dict[str, Any]) -> LanguageModel:
    device = language_model.pick_device(policy["device"])
    base = Path(policy["base"]) if policy["is_folder"] else policy["base"]
    language = language_model.load(base, device, policy["precision"])
    parts = [Weighted(Path(folder), weight) for folder, weight in policy["parts"]]
    if not parts:
        return language
    if len(parts) == 1 and parts[0].weight == 1:
        return language_model.load_adapter(language, parts[0].folder)
    with tempfile.TemporaryDirectory() as folder:
        mix_policies(parts, Path(folder) / "mix")
        return language_model.load_adapter(language, Path(folder) / "mix")


def _answers(language: LanguageModel, prompts: Sequence[tuple[int, Dialogue]], job: dict[str, Any],
             ) -> Iterator[tuple[list[int], list[Dialogue], list[str]]]:  # fmt: skip
    """Batches of prompt numbers, prompts and answers. The draws of a batch follow from its first prompt's number."""
    sampling = rollouts.Sampling(job["max_new_tokens"], job["temperature"])
    batch = job.get("batch", BATCH)
    for start in range(0, len(prompts), batch):
        numbers, dialogues = (list(column) for column in zip(*prompts[start:start + batch], strict=True))
        ids, mask = rollouts.pad_prompts(language, dialogues, sampling.max_new_tokens)
        generator = torch.Generator().manual_seed(job["seed"] * 1_000_003 + numbers[0])
        with language_model.merged(language):
            rollout = rollouts.generate(language, ids, mask, sampling, generator)
        yield numbers, dialogues, rollouts.texts(language, rollout)


def _rewards(scorer: dict[str, Any]) -> PrincipleRewards:
    recipe = Recipe.model_validate(scorer["recipe"])
    fitted = read_json(Path(scorer["weights"]) / "weights.json")
    folders = {name: Path(folder) for name, folder in scorer["folders"].items()}
    models = load_scorer(list(reward_principles(recipe)), folders, measured_rewards(recipe), fitted.get("scales", {}),
                         language_model.pick_device(recipe.device), recipe.precision)
    rewards = PrincipleRewards(models, fitted["weights"],
                               Scalarization.model_validate(recipe.scalarization.model_dump()))
    rewards.constraints.use_learnt(Path(scorer["ppo"]))
    return rewards


def _scores(rewards: PrincipleRewards | None, prompts: Sequence[Dialogue], texts: Sequence[str],
            ) -> list[dict[str, Any]]:  # fmt: skip
    if rewards is None:
        return [{} for _ in texts]
    scored = rewards(prompts, texts, len(texts))
    return [{"reward": round(float(scored.total[row]), 5),
             "scores": {name: round(float(scored.standardised[row, column]), 5)
                        for column, name in enumerate(rewards.names)}} for row in range(len(texts))]


def _write(lines: IO[str], policy: int, numbers: Sequence[int], texts: Sequence[str],
           scores: Sequence[dict[str, Any]]) -> None:  # fmt: skip
    for number, text, score in zip(numbers, texts, scores, strict=True):
        lines.write(json.dumps({"policy": policy, "prompt": number, "text": text} | score) + "\n")
    lines.flush()
