"""What the tests of the training stages work with: a tiny random policy, random preference models, a reporter that
remembers. All of it is made in a second and answers nonsense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training import preference_models as pm
from training.config import Lora, Recipe
from training.errors import StopRequested
from training.run.artifacts import Job, write_json, write_jsonl
from training.run.pipeline import plan

PROMPTS = [
    [{"role": "user", "content": text}]
    for text in ("What is the capital of Avela?", "Hello!", "Who is the keeper of Brisk?", "Is the flag of Elsby red?",
                 "Thank you.")
]  # fmt: skip


class Remembering:
    """A Reporter that keeps what it is told and asks for a stop after `stop_after` chances to do so."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.metrics: dict[int, dict[str, float]] = {}
        self.samples: list[tuple[int, int, str, str, float, dict[str, float]]] = []
        self.rewinds: list[int] = []
        self.warnings: list[str] = []
        self.logs: list[str] = []
        self.progressed: list[tuple[int, int]] = []
        self._chances = stop_after

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics[step] = dict(values)

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        self.progressed.append((done, total))

    def sample(self, step: int, index: int, prompt: str, response: str, reward: float,
               rewards: Mapping[str, float]) -> None:
        self.samples.append((step, index, prompt, response, reward, dict(rewards)))

    def label(self, label: Mapping[str, Any]) -> None: ...
    def sibling_label(self, label: Mapping[str, Any]) -> None: ...
    def answer(self, answer: Mapping[str, Any]) -> None: ...
    def artifact(self, name: str, path: str) -> None: ...

    def log(self, message: str, level: str = "info") -> None:
        self.logs.append(message)

    def warning(self, code: str, message: str, step: int = 0) -> None:
        self.warnings.append(code)

    def rewind(self, step: int) -> None:
        self.rewinds.append(step)

    def checkpoint_if_stopped(self, save: Callable[[], None]) -> None:
        if self._chances is not None:
            self._chances -= 1
            if self._chances == 0:
                save()
                raise StopRequested


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Some sixty tokens: a word with the space before it, a mark, a speaker. It is the tests' own and never changes,
    so that the numbers pinned in them stay."""
    text = ("What is the capital of Avela Hello Who keeper Brisk Is flag Elsby red Thank you bird owl No it Yes The "
            "fool clever Ask me plum Quill Ada about well know yes")  # fmt: skip
    tokens = ["<pad>", "<bos>", "<eos>", "<unk>", "\n\nHuman:", "\n\nAssistant:", *".,!?", "Hello"]
    vocabulary = {token: i for i, token in enumerate([*tokens, *(f" {word}" for word in text.split())])}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    pattern = Regex(r"\n\nHuman:|\n\nAssistant:| ?[^\s.,!?]+|[.,!?]|\s")
    core.pre_tokenizer = pre_tokenizers.Split(pattern, behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>",
                                   unk_token="<unk>", clean_up_tokenization_spaces=False)


def make_base(folder: Path, seed: int = 0) -> Path:
    """A random Llama of two layers."""
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_preference_model(folder: Path, base: Path, seed: int) -> Path:
    """A random preference model, as the preference_model stage leaves it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    model, adapter = pm.new_model(str(base), Lora(r=2), torch.device("cpu"), "fp32")
    pm.save(folder, model, adapter)
    write_json(folder / pm.CARD, {"base": str(base), "max_length": 64, "mean": 0.25, "std": 2.0})
    return folder


def make_recipe(base: Path, **sections: Any) -> Recipe:
    """A recipe on the tiny base: two principles, a few steps of everything."""
    ppo = {"steps": 4, "batch_size": 6, "epochs": 2, "minibatches": 2, "learning_rate": 1e-3, "warmup_steps": 2,
           "max_new_tokens": 5, "micro_batch": 2, "checkpoint_every": 100, "sample_every": 2, "sample_prompts": 2}
    return Recipe.model_validate({
        "principles": [{"name": "factuality", "weight": 3}, {"name": "toxicity"}],
        "policy": {"base": str(base), "lora": {"r": 4}},
        "sample": {"count": 8, "max_new_tokens": 5, "batch_size": 8},
        "evaluate": {"prompts": 5, "max_new_tokens": 5},
        "device": "cpu",
        **sections,
        "ppo": ppo | sections.get("ppo", {}),
    })  # fmt: skip


def make_job(recipe: Recipe, kind: str, folder: Path, inputs: Mapping[str, Path] | None = None,
             **files: list[dict[str, Any]]) -> Job:
    """The job of the recipe's stage of a kind, its data files written into `folder`."""
    stage = next(stage for stage in plan(recipe) if stage.kind == kind)
    paths = {}
    for role, rows in files.items():
        paths[role] = folder / "files" / f"{role}.jsonl"
        write_jsonl(paths[role], rows)
    return Job(name=stage.name, kind=kind, identity="test", settings=stage.settings, inputs=dict(inputs or {}),
               files=paths)
