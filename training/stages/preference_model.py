"""Train the preference model of one principle, or the heads of all on one trunk (MORLAIF, arXiv 2406.07295).

The loss of a label is Bradley-Terry's (`training.preference_models.losses`), a batch's the mean of its labels'. TRL's
RewardTrainer supports neither soft labels nor several heads, hence our own loop: LoRA (or the whole base) and a linear
head, AdamW, cosine with warm-up. Pairs are held out by prompt, the same ones for every principle of a run. Labels that
people changed come in `files["labels"]`, on a shared trunk in `files["labels:<principle>"]`, and win; next come the
ratings of the dataset, where the recipe names an aspect for the principle (`files["ratings"]`).

Left out: early stopping, a weight per principle on the shared trunk, several devices.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from training import preference_models as pm
from training.config import PreferenceModelSettings as Settings
from training.errors import BadData, Diverged
from training.models.language_model import load_tokenizer, pad_id, pick_device, translate_oom
from training.preference_models.pair_labels import labels_of
from training.quality import cross_fit, learning_curve, quality_card
from training.quality.calibration import accuracy
from training.quality.card_warnings import warn_of
from training.run.artifacts import (
    Job,
    digest_of,
    newest_checkpoint,
    publish_checkpoint,
    read_json,
    read_jsonl,
    write_json,
)
from training.run.reporting import NullReporter, Reporter

WATCHED = 256  # held-out pairs scored during training; all of them at the end
CHECKPOINT_SECONDS = 20.0
MAX_GRAD_NORM = 1.0
CURVE = "learning_curve.json"


class Example(NamedTuple):
    """A labelled pair: token ids of both responses with how many of them are the response's, the probability that the
    first is better on each principle (None where it has no label), and the person's choice."""

    digest: str
    prompt: str
    a: list[int]
    b: list[int]
    lengths: tuple[int, int]
    labels: tuple[float | None, ...]
    human: float | None


def run(job: Job, folder: Path, reporter: Reporter) -> None:
    """Write adapter (or trunk/), head.safetensors, card.json and the scores of all labelled pairs.

    Raises:
        BadData: too few labelled pairs.
        BadSettings: more layers are to be adapted than the base has.
        Diverged: the loss is NaN or infinite.
        StopRequested: after a checkpoint.
    """
    settings = Settings.model_validate(job.settings["preference_model"])
    names = principles_of(job)
    device = pick_device(job.settings["device"])
    tokenizer = load_tokenizer(settings.base)
    pad = pad_id(tokenizer, (tokenizer.eos_token_id,))
    examples = read_examples(job, tokenizer, settings.max_length)
    training, held_out = split(examples, settings.held_out, job.settings["seed"])
    for index, name in enumerate(names):
        if not any(example.labels[index] is not None for example in training):
            raise BadData(f"No pair to train on has a label for '{name}'.", "Label more pairs ('judge.max_pairs').")
    reporter.log(f"{len(training)} pairs to train on, {len(held_out)} held out, {', '.join(names)}")
    with translate_oom():
        if settings.learning_curve:
            _train_parts(job, folder, settings, device, training, held_out, pad, reporter)
        model, adapter = _new_model(job, settings, device)
        with pm.pair_reader(model, pad) as reader:
            _fit(reader, training, held_out[:WATCHED], settings, job, folder, reporter)
            scores = score_pairs(reader, examples)
        pm.save(folder, model, adapter)
        del model, adapter, reader
        unseen = {example.digest for example in held_out}
        closer = _look_closer(job, folder, settings, device, examples, unseen, scores, pad, reporter)
    _report(job, folder, settings, examples, unseen, scores, closer, reporter)


def _new_model(job: Job, settings: Settings, device: torch.device) -> tuple[pm.PreferenceModel, Any]:
    """A new model initialised from the job's seed."""
    torch.manual_seed(job.settings["seed"])
    return pm.new_model(settings.base, settings.lora, device, job.settings["precision"], heads=len(principles_of(job)),
                        layers=settings.lora_layers, full=settings.architecture == "full")


class _StopOnlyReporter(NullReporter):
    """The reporter of a model that is trained for the learning curve only: it reports nothing, but can be stopped."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        self._reporter.checkpoint_if_stopped(save)


def _train_parts(job: Job, folder: Path, settings: Settings, device: torch.device, training: Sequence[Example],
                 held_out: list[Example], pad: int, reporter: Reporter) -> None:
    """Train models on parts of the pairs and discard each once it is measured. The measurements are in
    `learning_curve.json`, so that a resumed stage continues with the next part."""
    file, temporary = folder / CURVE, folder / "parts"
    measured: list[dict[str, Any]] = read_json(file) if file.is_file() else []
    parts = learning_curve.parts(training, [example.digest for example in training], job.settings["seed"])
    for part in parts[len(measured):]:
        reporter.log(f"learning curve: {len(part)} of {len(training)} pairs")
        model, _ = _new_model(job, settings, device)
        with pm.pair_reader(model, pad) as reader:
            _fit(reader, part, held_out[:WATCHED], settings, job, temporary / str(len(part)),
                 _StopOnlyReporter(reporter))
            scores = score_pairs(reader, held_out)
        labels = [sum(label is not None for label in column)
                  for column in zip(*(example.labels for example in part), strict=True)]
        measured.append({"labels": labels, "differences": (scores[:, 0] - scores[:, 1]).T.tolist()})
        write_json(file, measured)
    shutil.rmtree(temporary, ignore_errors=True)


def _look_closer(job: Job, folder: Path, settings: Settings, device: torch.device, examples: Sequence[Example],
                 unseen: set[str], scores: Tensor, pad: int, reporter: Reporter) -> dict[str, list[float]]:
    """What `cross_fit` says where the held-out pairs leave open whether a judge's labels can be learnt; else nothing.
    The labels of a measure are never those of a coin."""
    def is_open(head: int) -> bool:
        if principles_of(job)[head] in job.runtime.get("measured", []):
            return False
        rows = [(float(scores[index, 0, head] - scores[index, 1, head]), label, example.digest in unseen)
                for index, example in enumerate(examples) if (label := example.labels[head]) is not None]
        return cross_fit.is_open([d for d, _, is_unseen in rows if is_unseen],
                                 [label for _, label, is_unseen in rows if is_unseen], [label for _, label, _ in rows])

    def differences(training: list[Example], part: list[Example], number: int) -> list[list[float]]:
        reporter.log(f"a closer look: part {number + 1} of {cross_fit.FOLDS}")
        model, _ = _new_model(job, settings, device)
        with pm.pair_reader(model, pad) as reader:
            _fit(reader, training, part[:1], settings, job, folder / "folds" / str(number), _StopOnlyReporter(reporter))
            part_scores = score_pairs(reader, part)
        rows: list[list[float]] = (part_scores[:, 0] - part_scores[:, 1]).tolist()
        return rows

    if not job.runtime.get("stop_at_chance", True) or not any(map(is_open, range(scores.shape[2]))):
        return {}
    closer = cross_fit.cross_fit(examples, job.settings["seed"], folder / "folds.json", differences)
    shutil.rmtree(folder / "folds", ignore_errors=True)
    return closer


def _curve(folder: Path, head: int, pairs: Sequence[quality_card.Scored]) -> dict[str, Any]:
    """The curve of one principle, whose last point is the model itself; empty where there were too few pairs."""
    if not (folder / CURVE).is_file():
        return {}
    measured: list[dict[str, Any]] = read_json(folder / CURVE)
    unseen = [pair for pair in pairs if pair.held_out]
    judged = [index for index, pair in enumerate(unseen) if pair.label is not None]
    rows = [*(part["differences"][head] for part in measured), [pair.raw[0] - pair.raw[1] for pair in unseen]]
    learnt = sum(pair.label is not None and not pair.held_out for pair in pairs)
    return learning_curve.curve([*(part["labels"][head] for part in measured), learnt],
                                [[row[index] for index in judged] for row in rows],
                                [pair.label for pair in unseen if pair.label is not None])


def principles_of(job: Job) -> list[str]:
    """The principles that the stage trains a head for, in the order of the heads."""
    named: list[str] = job.settings.get("principles") or [job.settings["principle"]]
    return named


def read_examples(job: Job, tokenizer: Any, max_length: int) -> list[Example]:
    """The pairs that any principle has a label for, in file order; errors do not count as labels.

    Raises:
        BadData: a principle is to learn from the dataset's ratings, and no pair is rated on its aspect.
    """
    pairs_file = job.files.get("pairs") or job.inputs["sample"] / "pairs.jsonl"
    labels = [labels_of(job, name) for name in principles_of(job)]
    pairs = {pair["digest"]: pair for pair in read_jsonl(pairs_file)
             if any(pair["digest"] in by_pair for by_pair in labels)}
    return [
        Example(digest, digest_of(pair["prompt"]), pm.encode(tokenizer, pair["prompt"], pair["a"], max_length),
                pm.encode(tokenizer, pair["prompt"], pair["b"], max_length),
                (pm.reply_length(tokenizer, pair["a"]), pm.reply_length(tokenizer, pair["b"])),
                tuple(by_pair.get(digest) for by_pair in labels), pair.get("human"))
        for digest, pair in pairs.items()
    ]


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples: no prompt is in both, and the split depends on prompts and seed only.

    Raises:
        BadData: fewer than two prompts, so that nothing could be held out.
    """
    prompts = sorted({example.prompt for example in examples}, key=lambda prompt: digest_of([seed, prompt]))
    if len(prompts) < 2:
        raise BadData(f"Only {len(examples)} labelled pairs of {len(prompts)} prompts: too few to train on.",
                      "Label more pairs ('judge.max_pairs', 'sample.count').")
    held_out_prompts = set(prompts[: min(len(prompts) - 1, max(1, round(share * len(prompts))))])
    return ([example for example in examples if example.prompt not in held_out_prompts],
            [example for example in examples if example.prompt in held_out_prompts])


def _fit(reader: pm.PairReader, training: list[Example], watched: list[Example], settings: Settings, job: Job,
         folder: Path, reporter: Reporter) -> None:
    """The training loop: resumes from the newest checkpoint, bit for bit on a CPU."""
    model = reader.model
    # 1. Trainable parameters, optimizer and schedule.
    learnt = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(learnt.values(), lr=settings.learning_rate, weight_decay=0.0,
                                  fused=reader.device.type == "cuda")
    steps_per_epoch = math.ceil(len(training) / settings.batch_size)
    total = settings.epochs * steps_per_epoch
    warmup = min(settings.warmup_steps, total // 10)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, warmup, total))
    watch_every = max(1, total // 5)

    # 2. Resume from the newest checkpoint.
    step = _restore(folder, learnt, optimizer, scheduler)
    reader.refresh()
    reporter.rewind(step)
    saved = time.monotonic()

    def save() -> None:
        _save(folder, step, learnt, optimizer, scheduler)

    while step < total:
        # 3. The pairs of this step: each epoch has its own order.
        epoch, place = divmod(step, steps_per_epoch)
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(job.settings["seed"] + epoch))
        chosen = order[place * settings.batch_size:(place + 1) * settings.batch_size].tolist()
        batch = [training[index] for index in chosen]

        # 4. One optimizer step on the mean loss of the batch's labels.
        optimizer.zero_grad()
        backward = _backward(reader, batch, settings)
        norm = torch.nn.utils.clip_grad_norm_(list(learnt.values()), MAX_GRAD_NORM)
        loss, right, grad_norm = _measured(backward, norm)
        if not math.isfinite(loss):
            raise Diverged(f"The preference model's loss became {loss} at step {step + 1}.",
                           f"Lower 'preference_model.learning_rate' from {settings.learning_rate:g}.")
        values = {"pm/loss": loss, "pm/grad_norm": grad_norm, "pm/learning_rate": float(scheduler.get_last_lr()[0]),
                  "pm/accuracy": right}
        optimizer.step()
        scheduler.step()
        reader.refresh()
        step += 1

        # 5. Report, and save a checkpoint now and then.
        if step % watch_every == 0 or step == total:
            values |= _watch(reader, watched, principles_of(job))
        reporter.metric(step, values)
        reporter.progress(step, total)
        reporter.checkpoint_if_stopped(save)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
    model.eval()


class _Backward(NamedTuple):
    """What a backward pass leaves to be read: the loss and the differences of scores [pairs, principles], on the
    device, with the pairs in that order."""

    loss: Tensor
    differences: Tensor
    examples: list[Example]


def _backward(reader: pm.PairReader, batch: Sequence[Example], settings: Settings) -> _Backward:
    """Add the gradient of the batch's mean loss, micro-batch by micro-batch; the host waits for none of them."""
    reader.model.train()
    label_count = sum(label is not None for example in batch for label in example.labels)
    parts = reader.batches([pm.TokenPair(example.a, example.b) for example in batch])
    examples = [batch[index] for part in parts for index in part.indices]
    labels = _labels(examples, reader.device).split([len(part.indices) for part in parts])
    losses, differences = [], []
    for part, part_labels in zip(parts, labels, strict=True):
        scores = reader.scores(part)
        difference = scores[:, 0] - scores[:, 1]
        loss = pm.label_loss(settings.labels, difference, part_labels).sum() / label_count
        loss.backward()
        losses.append(loss.detach())
        differences.append(difference.detach())
    return _Backward(torch.stack(losses).sum(), torch.cat(differences), examples)


def _measured(backward: _Backward, norm: Tensor) -> tuple[float, float, float]:
    """Loss, accuracy and norm of the gradient, read from the device at once."""
    loss, grad_norm, *differences = torch.cat([torch.stack([backward.loss, norm.to(backward.loss.dtype)]),
                                               backward.differences.flatten()]).tolist()
    return loss, _accuracy(torch.tensor(differences).view_as(backward.differences), backward.examples), grad_norm


def _watch(reader: pm.PairReader, watched: Sequence[Example], names: Sequence[str]) -> dict[str, float]:
    """Accuracy on held-out pairs: over all labels and, where there are several principles, on each."""
    scores = score_pairs(reader, watched)
    difference = scores[:, 0] - scores[:, 1]
    values = {"pm/held_out_accuracy": _accuracy(difference, watched)}
    if len(names) > 1:
        values |= {f"pm/held_out_accuracy/{name}": _accuracy(difference[:, index:index + 1], [
            example._replace(labels=(example.labels[index],)) for example in watched])
            for index, name in enumerate(names)}
    return values


def _labels(examples: Sequence[Example], device: torch.device) -> Tensor:
    """Probabilities [pairs, principles], NaN where there is no label."""
    return torch.tensor([[math.nan if label is None else label for label in example.labels] for example in examples],
                        device=device)


def _accuracy(difference: Tensor, examples: Sequence[Example]) -> float:
    """Over all labels of [pairs, principles]."""
    labelled = [(d, label) for row, example in zip(difference.tolist(), examples, strict=True)
            for d, label in zip(row, example.labels, strict=True) if label is not None]
    return accuracy([d for d, _ in labelled], [label for _, label in labelled])[0]


def rate(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def score_pairs(reader: pm.PairReader, examples: Sequence[Example]) -> Tensor:
    """Raw scores [pairs, 2, principles] of `a` and `b`, on the CPU."""
    return reader.score_all([pm.TokenPair(example.a, example.b) for example in examples])


def _report(job: Job, folder: Path, settings: Settings, examples: Sequence[Example], held_out: set[str],
            scores: Tensor, closer: dict[str, list[float]], reporter: Reporter) -> None:
    """Write a card and the standardised scores of each principle, and warn of weak models."""
    names = principles_of(job)
    cards: dict[str, dict[str, Any]] = {}
    for head, name in enumerate(names):
        pairs = [quality_card.Scored((a, b), example.lengths, example.labels[head], example.human,
                                example.digest in held_out)
                 for example, (a, b) in zip(examples, scores[:, :, head].tolist(), strict=True)]
        built = {"principle": name, "head": head, "lora": settings.lora.model_dump(), **{key: getattr(settings, key) for
                 key in ("architecture", "base", "max_length", "lora_layers", "labels")}}
        if settings.learning_curve:
            built |= _curve(folder, head, pairs)
        if settings.debias_length:
            rise, mean = quality_card.fit_length_bias(pairs)
            before = quality_card.card(pairs)["length_correlation"]
            built |= {"length_slope": rise, "length_mean": mean, "length_correlation_before": before}
            pairs = quality_card.remove_length_bias(pairs, rise, mean)
        cards[name] = built | quality_card.card(pairs) | cross_fit.cross_card(examples, closer, head)
        scores_file = folder / "scores" / f"{name}.jsonl" if "principles" in job.settings else folder / "scores.jsonl"
        quality_card.write_scores(scores_file, [example.digest for example in examples], pairs, cards[name]["mean"],
                             cards[name]["std"])
        warn_of(cards[name], reporter)
    content = cards[names[0]] if "principles" not in job.settings else {"architecture": settings.architecture,
                                                                    "cards": cards}
    write_json(folder / quality_card.CARD, content)
    reporter.artifact("preference model", quality_card.CARD)


def _save(folder: Path, step: int, learnt: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer,
          scheduler: torch.optim.lr_scheduler.LambdaLR) -> None:
    checkpoints = folder / "checkpoint"
    temporary = checkpoints / "writing"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    torch.save({"step": step, "learnt": {name: weight.data for name, weight in learnt.items()},
                "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
                "rng": torch.get_rng_state(), "cuda": cuda}, temporary / "state.pt")
    publish_checkpoint(temporary, checkpoints, step)


def _restore(folder: Path, learnt: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer,
             scheduler: torch.optim.lr_scheduler.LambdaLR) -> int:
    """The step to resume from, 0 if there is no checkpoint."""
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
