"""Train the preference model of one principle on soft labels (MORLAIF, arXiv 2406.07295; Bradley-Terry).

Loss of a pair: -p log sigmoid(d) - (1 - p) log sigmoid(-d), d the score of `a` minus that of `b`. TRL's RewardTrainer
knows no soft labels, hence a loop of our own: LoRA and a head, AdamW, cosine with warm-up. Pairs are held out by
prompt, the same ones for every principle of a run. Labels that people changed come in `files["labels"]` and win.

Left out: the label margin of the original, early stopping, several devices.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training import preference_models as pm
from training.artifacts import (
    Job,
    digest_of,
    newest_checkpoint,
    publish_checkpoint,
    read_jsonl,
    write_json,
    write_jsonl,
)
from training.calibration import accuracy, best_temperature, calibration_error, correlation, soft_loss, wilson
from training.config import PreferenceModel as Settings
from training.errors import BadData, Diverged
from training.models import load_tokenizer, memory_named, pad_id, pick_device
from training.reporting import Reporter

TOKENS_AT_ONCE = 16_384  # rows times longest row of one forward and backward pass
WATCHED = 256  # held-out pairs scored during training; all of them at the end
CHECKPOINT_SECONDS = 20.0
MAX_GRAD_NORM = 1.0


class Example(NamedTuple):
    """A labelled pair: token ids of both responses and the probability that the first is better."""

    digest: str
    prompt: str
    a: list[int]
    b: list[int]
    probability: float
    human: float | None


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write the adapter, head.safetensors, card.json and scores.jsonl (a row a labelled pair).

    Raises:
        BadData: too few labelled pairs.
        Diverged: the loss stopped being a number.
        StopRequested: after a checkpoint.
    """
    settings = Settings.model_validate(job.settings["preference_model"])
    device = pick_device(job.settings["device"])
    tokenizer = load_tokenizer(settings.base)
    pad = pad_id(tokenizer, (tokenizer.eos_token_id,))
    examples = read_examples(job, tokenizer, settings.max_length)
    training, held_out = split(examples, settings.held_out, job.settings["seed"])
    torch.manual_seed(job.settings["seed"])
    model, adapter = pm.new_model(settings.base, settings.lora, device, job.settings["precision"])
    reporter.log(f"{len(training)} pairs to train on, {len(held_out)} held out, {job.settings['principle']}")
    with memory_named():
        _fit(model, training, held_out[:WATCHED], settings, job, folder, reporter, pad)
        scores = score_pairs(model, examples, pad)
    pm.save(folder, model, adapter)
    _report(job, folder, settings, examples, {example.digest for example in held_out}, scores, reporter)


def read_examples(job: Job, tokenizer: Any, max_length: int) -> list[Example]:
    """The labelled pairs in file order; pairs whose label is an error are left out."""
    pairs_file = job.files.get("pairs") or job.inputs["sample"] / "pairs.jsonl"
    labels_file = job.files.get("labels") or job.inputs["label"] / "labels.jsonl"
    labels = {row["pair"]: row["probability"] for row in read_jsonl(labels_file) if row["probability"] is not None}
    pairs = {pair["digest"]: pair for pair in read_jsonl(pairs_file) if pair["digest"] in labels}
    return [
        Example(digest, digest_of(pair["prompt"]), pm.encode(tokenizer, pair["prompt"], pair["a"], max_length),
                pm.encode(tokenizer, pair["prompt"], pair["b"], max_length), labels[digest], pair.get("human"))
        for digest, pair in pairs.items()
    ]


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples: no prompt is in both, and the draw depends on prompts and seed alone.

    Raises:
        BadData: fewer than two prompts, so that nothing could be held out.
    """
    prompts = sorted({example.prompt for example in examples}, key=lambda prompt: digest_of([seed, prompt]))
    if len(prompts) < 2:
        raise BadData(f"Only {len(examples)} labelled pairs of {len(prompts)} prompts: too few to train on.",
                      "Label more pairs ('judge.max_pairs', 'sample.count').")
    kept = set(prompts[: min(len(prompts) - 1, max(1, round(share * len(prompts))))])
    return ([example for example in examples if example.prompt not in kept],
            [example for example in examples if example.prompt in kept])


def _fit(model: pm.PreferenceModel, training: list[Example], watched: list[Example], settings: Settings, job: Job,
         folder: Path, reporter: Reporter, pad: int) -> None:
    """The training loop: resumes from the newest checkpoint, bit for bit on a CPU."""
    # 1. What is learnt, and how fast.
    learnt = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(learnt.values(), lr=settings.learning_rate, weight_decay=0.0)
    an_epoch = math.ceil(len(training) / settings.batch_size)
    total = settings.epochs * an_epoch
    warmup = min(settings.warmup_steps, total // 10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, warmup, total))
    watch_every = max(1, total // 5)

    # 2. Where an earlier attempt stopped.
    step = _restore(folder, learnt, optimizer, scheduler)
    reporter.rewind(step)
    saved = time.monotonic()

    def save() -> None:
        _save(folder, step, learnt, optimizer, scheduler)

    while step < total:
        # 3. The pairs of this step: every epoch in an order of its own.
        epoch, place = divmod(step, an_epoch)
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(job.settings["seed"] + epoch))
        chosen = order[place * settings.batch_size:(place + 1) * settings.batch_size].tolist()
        batch = [training[index] for index in chosen]

        # 4. One optimizer step on the mean loss of the batch, in as many passes as the memory wants.
        model.train()
        optimizer.zero_grad()
        differences: list[float] = []
        loss = 0.0
        for part in _parts(batch):
            difference = _difference(model, part, pad)
            labels = torch.tensor([example.probability for example in part], device=difference.device)
            part_loss = pm.soft_bradley_terry(difference, labels).sum() / len(batch)
            part_loss.backward()
            loss += part_loss.item()
            differences += difference.tolist()
        if not math.isfinite(loss):
            raise Diverged(f"The preference model's loss became {loss} at step {step + 1}.",
                           f"Lower 'preference_model.learning_rate' from {settings.learning_rate:g}.")
        norm = torch.nn.utils.clip_grad_norm_(list(learnt.values()), MAX_GRAD_NORM)
        values = {"pm/loss": loss, "pm/grad_norm": float(norm), "pm/learning_rate": float(scheduler.get_last_lr()[0]),
                  "pm/accuracy": accuracy(differences, [example.probability for example in batch])[0]}
        optimizer.step()
        scheduler.step()
        step += 1

        # 5. Tell, and keep what is needed to go on.
        if step % watch_every == 0 or step == total:
            seen = score_pairs(model, watched, pad)
            values["pm/held_out_accuracy"] = accuracy((seen[:, 0] - seen[:, 1]).tolist(),
                                                      [example.probability for example in watched])[0]
        reporter.metric(step, values)
        reporter.progress(step, total)
        reporter.checkpoint_if_stopped(save)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
    model.eval()


def rate(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _parts(batch: Sequence[Example]) -> list[Sequence[Example]]:
    longest = max(max(len(example.a), len(example.b)) for example in batch)
    pairs = max(1, TOKENS_AT_ONCE // (2 * longest))
    return [batch[start:start + pairs] for start in range(0, len(batch), pairs)]


def _difference(model: pm.PreferenceModel, part: Sequence[Example], pad: int) -> Tensor:
    """Score of `a` minus score of `b`, [pairs]; both go through the model in one batch."""
    rows = [example.a for example in part] + [example.b for example in part]
    one, other = model(*pm.padded(rows, pad, model.head.weight.device)).chunk(2)
    return one - other


@torch.no_grad()
def score_pairs(model: pm.PreferenceModel, examples: Sequence[Example], pad: int) -> Tensor:
    """Raw scores [pairs, 2] of `a` and `b`, on the CPU."""
    model.eval()
    rows = [row for example in examples for row in (example.a, example.b)]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    scores = torch.empty(len(rows))
    start = 0
    while start < len(order):
        # Sorted by length: the rows that fit are counted by the shortest, then cut to what the longest allows.
        end = min(len(order), start + max(1, TOKENS_AT_ONCE // len(rows[order[start]])))
        end = min(end, start + max(1, TOKENS_AT_ONCE // len(rows[order[end - 1]])))
        chosen = order[start:end]
        scores[chosen] = model(*pm.padded([rows[i] for i in chosen], pad, model.head.weight.device)).cpu()
        start = end
    return scores.view(-1, 2)


def _report(job: Job, folder: Path, settings: Settings, examples: Sequence[Example], held_out: set[str],
            scores: Tensor, reporter: Reporter) -> None:
    """Card and standardised scores, and what the card says as last metrics."""
    unseen = [index for index, example in enumerate(examples) if example.digest in held_out]
    seen = [index for index, example in enumerate(examples) if example.digest not in held_out]
    differences = (scores[unseen, 0] - scores[unseen, 1]).tolist()
    labels = [examples[index].probability for index in unseen]
    share, decided = accuracy(differences, labels)
    low, high = wilson(share * decided, decided)
    raw = scores[seen].flatten()
    lengths = [float(len(row)) for index in seen for row in (examples[index].a, examples[index].b)]
    temperature = best_temperature(differences, labels)
    mean, std = raw.mean().item(), max(raw.std(correction=0).item(), 1e-6)
    card = {
        "principle": job.settings["principle"], "base": settings.base, "max_length": settings.max_length,
        "lora": settings.lora.model_dump(), "mean": mean, "std": std, "trained_on": len(seen), "held_out": len(unseen),
        "decided": decided, "accuracy": share, "accuracy_low": low, "accuracy_high": high,
        "loss": soft_loss(differences, labels), "calibration_error": calibration_error(differences, labels),
        "temperature": temperature,
        "calibration_error_at_temperature": calibration_error([d / temperature for d in differences], labels),
        "length_correlation": correlation(raw.tolist(), lengths),
    }
    write_json(folder / pm.CARD, card)
    standard = ((scores - mean) / std).tolist()
    write_jsonl(folder / "scores.jsonl", (
        {"pair": example.digest, "z_a": z_a, "z_b": z_b, "human": example.human, "held_out": example.digest in held_out}
        for example, (z_a, z_b) in zip(examples, standard, strict=True)))
    if decided == 0:
        reporter.warning("no_decided_labels", "No held-out label is decided: the accuracy says nothing.")
    elif low < 0.5:
        reporter.warning("weak_preference_model", f"Held-out accuracy {share:.2f} (95 % from {low:.2f} to {high:.2f}, "
                         f"n = {decided}) is no better than a coin: this principle was not learnt.")
    reporter.artifact("preference model", pm.CARD)


def _save(folder: Path, step: int, learnt: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer,
          scheduler: torch.optim.lr_scheduler.LambdaLR) -> None:
    checkpoints = folder / "checkpoint"
    aside = checkpoints / "writing"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    torch.save({"step": step, "learnt": {name: weight.data for name, weight in learnt.items()},
                "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(), "cuda": cuda}, aside / "state.pt")
    publish_checkpoint(aside, checkpoints, step)


def _restore(folder: Path, learnt: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer,
             scheduler: torch.optim.lr_scheduler.LambdaLR) -> int:
    """The step to go on from, 0 if there is no checkpoint."""
    newest = newest_checkpoint(folder / "checkpoint")
    if newest is None:
        return 0
    state = torch.load(newest / "state.pt", weights_only=True, map_location="cpu")
    for name, weight in learnt.items():
        weight.data.copy_(state["learnt"][name])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["rng"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    return int(state["step"])
