"""Accuracy of preference models by architecture, on the same pairs, labels, split and budget.

    python benchmarks/preference_models.py [--pairs 600] [--hh hh_harmless_1500.jsonl.gz] [--only separate] [--seed 0]
        [--labels "reads easily"] [--epochs 2] [--max-length 64]
        [--vocabulary 4096]

The demo world: the judge's labels on pairs that the demo policy samples, with the settings of the demo preset. With
--hh, a file of preference pairs with people's choices: a fifth of the prompts is held out, and because nothing was
bought for them the labels are the choices themselves, with principles beside them that are measured: which response
has fewer words, and which reads more easily (Flesch). The base of these is a random Llama of 0.4 million parameters
with a tokenizer made from the texts: nothing that it knows helps it.

Each line is a principle: its accuracy on held-out pairs with its 95 % interval, by architecture. The last line is the
mean of each, `separate: 0.95 shared_trunk: 0.94 full: 0.96`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import repository  # noqa: F401
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.config import Architecture, Recipe, shipped_recipe
from training.data import data_files
from training.dialogue import as_text
from training.judges.measure_judge import measured_verdicts
from training.quality.quality_card import card_of
from training.run.artifacts import Job, is_complete, read_jsonl, write_jsonl, write_manifest
from training.run.jobs import prepare_stage
from training.run.pipeline import StagePlan, identities, plan, served_by
from training.run.reporting import EventFile

ARCHITECTURES: tuple[Architecture, ...] = ("separate", "shared_trunk", "full")
HH = {"epochs": 2, "learning_rate": 2e-3, "warmup_steps": 10, "batch_size": 32, "max_length": 64, "held_out": 0.2,
      "lora": {"r": 16, "alpha": 32}}
MEASURES = {"fewer words": {"kind": "words", "toward": "low"}, "reads easily": {"kind": "reading_ease"}}
LABELS = ("human", *MEASURES)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--hh", type=Path)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=LABELS, help="with --hh")
    parser.add_argument("--epochs", type=int, default=HH["epochs"], help="with --hh")
    parser.add_argument("--max-length", type=int, default=HH["max_length"], help="with --hh, in tokens")
    parser.add_argument("--vocabulary", type=int, default=4096, help="with --hh: tokens of the base")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.hh:
            results = on_hh(Path(folder), options)
        else:
            results = demo(Path(folder), options.pairs, options.only, options.seed)
    print(f"{'':20}" + "".join(f"{name:>22}" for name in results))
    for name, first in next(iter(results.values())).items():
        shares = (cards[name] for cards in results.values())
        print(f"{name:13} n={first['decided']:<5}" + "".join(
            f"{card['accuracy']:8.3f} ({card['accuracy_low']:.3f}-{card['accuracy_high']:.3f})" for card in shares))
    means = {name: sum(card["accuracy"] for card in cards.values()) / len(cards) for name, cards in results.items()}
    print(" ".join(f"{name}: {mean:.3f}" for name, mean in means.items()))
    return 0


def demo(folder: Path, pairs: int, architectures: Sequence[Architecture], seed: int) -> dict[str, dict[str, Any]]:
    """Cards by architecture and principle; pairs and labels are made once."""
    recipe = shipped_recipe("demo")
    settings = recipe.model_dump(mode="json") | {"seed": seed, "sample": {**recipe.sample.model_dump(), "count": pairs}}
    settings["judge"] |= {"max_pairs": pairs}
    files = data_files.prepare(Recipe.model_validate(settings), folder / "data")
    cards = {}
    for architecture in architectures:
        # Every weight of the base moves at once: a tenth of the adapters' rate.
        rate = recipe.preference_model.learning_rate / (10 if architecture == "full" else 1)
        changed = {"architecture": architecture, "learning_rate": rate}
        settings["preference_model"] = recipe.preference_model.model_dump(mode="json") | changed
        cards[architecture] = trained(Recipe.model_validate(settings), files, folder)
    return cards


def on_hh(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Cards by architecture and principle: what people chose, and what is measured."""
    source, seed = options.hh, options.seed
    rows = [row for row in data_files.read_rows(source, source.name) if isinstance(row, data_files.Row)]
    settings = shipped_recipe("small_gpu").data.model_copy(update={"source": str(source), "held_out": 2})
    files = dict(data_files.files_from_rows(rows, settings, folder / "data"))
    pairs = list(read_jsonl(files["pairs"]))
    base = make_base(folder / "base", [as_text(pair["prompt"]) + pair["a"] + pair["b"] for pair in pairs],
                     options.vocabulary, seed)
    measured = measured_verdicts({name: {"kind": "measure", "measure": measure} for name, measure in MEASURES.items()},
                                 *([pair[key] for pair in pairs] for key in ("prompt", "a", "b")))
    labels = {"human": [float(pair["human"]) for pair in pairs],
              **{name: [verdict.probability for verdict in verdicts] for name, verdicts in measured.items()}}
    labels = {name: labels[name] for name in options.labels}
    for name, column in labels.items():
        write_jsonl(folder / f"{name}.jsonl", ({"pair": pair["digest"], "probability": p}
                                               for pair, p in zip(pairs, column, strict=True)))
    cards = {}
    for architecture in options.only:
        rate = HH["learning_rate"] / (4 if architecture == "full" else 1)  # type: ignore[operator]
        settings_of = {**HH, "base": str(base), "architecture": architecture, "learning_rate": rate,
                       "epochs": options.epochs, "max_length": options.max_length}
        common = {"seed": seed, "device": "auto", "precision": "fp32", "preference_model": settings_of}
        if architecture == "shared_trunk":
            jobs = {"shared": (list(labels), common | {"principles": list(labels)})}
        else:
            jobs = {name: ([name], common | {"principle": name}) for name in labels}
        cards[architecture] = {}
        for stage, (names, settings_of_stage) in jobs.items():
            at = folder / architecture / stage
            roles = {f"labels:{name}" if architecture == "shared_trunk" else "labels": folder / f"{name}.jsonl"
                     for name in names}
            run(Job(name=stage, kind="preference_model", identity="", settings=settings_of_stage,
                    files={"pairs": files["pairs"], **roles}), at)
            cards[architecture] |= {name: card_of(at, name) for name in names}
    return cards


def make_base(folder: Path, texts: Sequence[str], vocabulary: int, seed: int) -> Path:
    """A random Llama of about 0.4 million parameters, and a byte-pair tokenizer made from the texts."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<pad>", "<eos>"],
                                                        show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=512, tie_word_embeddings=True)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(recipe: Recipe, files: Mapping[Any, Path], folder: Path) -> dict[str, Any]:
    """Run a recipe up to its preference models; the card of each principle. What is there already is used again."""
    stages = plan(recipe)
    identity_of = identities(stages, data_files.digests(files))
    folders = {stage.name: folder / identity_of[stage.name] for stage in stages}
    for stage in stages:
        if stage.kind in {"sft", "sample", "label", "preference_model"} and not is_complete(folders[stage.name]):
            run(prepared(stage, identity_of[stage.name], folders, files), folders[stage.name])
            write_manifest(folders[stage.name])
    return {name: card_of(folders[stage], name) for name, stage in served_by(stages).items()}


def prepared(stage: StagePlan, identity: str, folders: Mapping[str, Path], files: Mapping[Any, Path]) -> Job:
    inputs = {role: folders[name] for role, name in stage.inputs.items()}
    return prepare_stage(stage, identity, folders[stage.name], inputs, {role: files[role] for role in stage.files})


def run(job: Job, folder: Path) -> None:
    """Run a stage in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    reporter = EventFile(folder / "events.jsonl", lambda: False)
    began = time.monotonic()
    importlib.import_module(f"training.stages.{job.kind}").run(job, folder, reporter)
    reporter.close()
    print(f"{job.name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
