"""What is known to fail before any work is done: refused with the field, its value and a remedy. Torch-free.

`check_run` checks a recipe and the folders of its models, when a run is started or shown in the form; `check_job`
checks what one stage is about to read, in its process, before a model is loaded. Names, bounds and NaN are refused
earlier, by the recipe's own types (`training.config`).

A model in a folder is checked by its config.json, tokenizer.json and file sizes; a hub id cannot be checked before it
is loaded, and then by `training.models.preflight`. Left out: whether it fits the device's memory (see
`runner.describe`).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from training.config import Recipe
from training.config.judge import address_problem
from training.config.measure import Added
from training.dialogue import generation_prompt
from training.errors import BadData, BadSettings, DiskFull, ModelUnavailable
from training.measures.added import entry_point
from training.run import model_shape
from training.run.artifacts import Job, read_json, read_jsonl
from training.run.baselines import modelled
from training.run.model_names import ModelHome, locate, model_home
from training.run.model_size import size_of_folder

MARGIN = 200e6
"""Bytes that must stay free in addition to what is estimated: the database, the report stream, the samples."""


RESERVED = {"overall": "the comparison over all principles", "best_of_n": "the comparison with the best of n answers"}
"""Names that no principle may have: an evaluation uses them in its report and metrics."""


def check_run(recipe: Recipe, disk: Path | None = None, home: ModelHome | None = None) -> None:
    """Refuse what the recipe's models cannot do and what the disk cannot hold.

    Args:
        disk: a folder on the disk that the run is written to; None: disk space is not checked.
        home: where names of models are looked up; None: as set for this process.

    Raises:
        BadSettings: what is to be read or written is longer than a model, a principle's name is taken, or its measure
            is not installed.
        ModelUnavailable: a name means no model, or a folder holds no decoder or a tokenizer that does not fit it.
        DiskFull: there is less room than the run needs.
    """
    if problem := address_problem(recipe.judge):
        raise BadSettings(f"'judge.base_url' cannot be used: {problem}.", "Give the address of the judge's server.")
    for choice in recipe.principles:
        if choice.name in RESERVED:
            raise BadSettings(f"'principles' names '{choice.name}', by which the report means {RESERVED[choice.name]}.",
                              "Rename the principle.")
        if isinstance(choice.measure, Added):
            entry_point(choice.measure.name)
    home = home or model_home()
    folders = {field: check_base(field, base, home) for field, base in bases_of(recipe).items()}
    policy, trunk = folders["policy.base"], folders.get("preference_model.base")
    reads, max_length = positions(trunk), recipe.preference_model.max_length
    if reads is not None and max_length > reads:
        raise BadSettings(f"'preference_model.max_length' is {max_length}, and '{recipe.preference_model.base}' has "
                          f"{reads} positions.",
                          f"Lower 'preference_model.max_length' to {reads}, or choose a longer model.")
    for field, tokens in (("ppo.max_new_tokens", recipe.ppo.max_new_tokens),
                          ("sample.max_new_tokens", recipe.sample.max_new_tokens),
                          ("evaluate.max_new_tokens", recipe.evaluate.max_new_tokens)):
        longest = positions(policy)
        if longest is not None and tokens >= longest:
            raise BadSettings(f"'{field}' is {tokens}, and '{recipe.policy.base}' has {longest} positions for prompt "
                              "and response together.", f"Lower '{field}' to {longest // 2}, or choose a longer model.")
    if disk is not None:
        check_disk_space(disk, needed_bytes(recipe, home))


def check_job(job: Job, folder: Path) -> str:
    """Refuse a stage that would fail after its models are loaded.

    Returns:
        A warning that need not stop the stage, or "".

    Raises:
        BadSettings: a principle has no preference model, or a preference model's scores have no scale.
        BadData: most prompts are longer than the model.
        DiskFull: the disk has no room for a checkpoint.
    """
    rewarded = job.settings.get("rewarded", job.settings.get("principles", []) if job.kind == "ppo" else [])
    for name in rewarded:
        if name not in job.settings.get("measured_rewards", {}):
            _check_preference_model(job, name)
    check_disk_space(folder, 0)
    if job.kind != "ppo" or "prompts" not in job.files:
        return ""
    base = job.inputs["sft"] / "model" if "sft" in job.inputs else locate(job.settings["policy"]["base"])
    return check_prompts(job.files["prompts"], base, job.settings["ppo"]["max_new_tokens"])


def bases_of(recipe: Recipe) -> dict[str, str]:
    """The models that a run loads on its own machines, by the setting that names them."""
    bases = {"policy.base": recipe.policy.base}
    if modelled(recipe):
        bases["preference_model.base"] = recipe.preference_model.base
    return bases | ({"judge.model": recipe.judge.model} if recipe.judge.kind == "local" else {})


def check_base(field: str, base: str, home: ModelHome) -> Path | None:
    """The base's folder, None for a hub id.

    Raises:
        ModelUnavailable: the name means no model, or its folder holds no decoder with a tokenizer that fits it.
    """
    folder = home.locate(base, field)
    if folder is None:
        return None
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"'{field}' names '{folder.name}', which holds no config.json.",
                               "Name the folder of a saved model.")
    config = read_json(folder / "config.json")
    if refusal := model_shape.why_no_policy(config, writes=field != "preference_model.base"):
        raise ModelUnavailable(f"'{field}' names '{folder.name}', which {refusal}.",
                               "Choose a decoder with attention, whose architecture ends in ForCausalLM.")
    words, rows = vocabulary(folder), model_shape.token_rows(config)
    if words is not None and rows is not None and words > rows:
        raise ModelUnavailable(f"'{field}' names '{folder.name}': its tokenizer has {words} tokens, its model {rows}.",
                               "Put the model's own tokenizer into the folder.")
    return folder


def vocabulary(folder: Path) -> int | None:
    """One more than the highest token id of the folder's tokenizer, for words; None where there is no tokenizer.json.

    Added tokens are left out: a model may ship with some that it has no row for, as the pictures' token of Gemma 3 1B.
    A text that holds such a token is refused where it is encoded.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    state = path.stat()
    return _vocabulary(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _vocabulary(path: Path, changed: int, size: int) -> int:
    """Read once for each state of the file: a sweep checks hundreds of recipes on one model, and some tokenizers have
    ten megabytes."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    words: Any = tokenizer["model"].get("vocab", {})
    added = {token["content"] for token in tokenizer.get("added_tokens", [])}
    ids = ([index for word, index in words.items() if word not in added] if isinstance(words, dict)
           else range(len(words)))
    return max(ids, default=-1) + 1


def positions(folder: Path | None) -> int | None:
    """How many tokens the model in a folder can read, or None if that cannot be known."""
    if folder is None or not (folder / "config.json").is_file():
        return None
    return model_shape.positions(read_json(folder / "config.json"))


def check_prompts(path: Path, base: Path | None, max_new_tokens: int) -> str:
    """Refuse prompts of which most do not fit the model together with a response; a few lose their oldest tokens.

    Only texts with more bytes than the available positions are encoded: a token is at least one byte.

    Returns:
        What is cut, or "".

    Raises:
        BadData: more than half do not fit; naming the longest of them by its row.
    """
    longest = positions(base)
    if base is None or longest is None or not (base / "tokenizer.json").is_file():
        return ""
    from tokenizers import Tokenizer

    available = longest - max_new_tokens
    tokenizer: Any = None
    too_long: list[tuple[int, int]] = []
    row = 0
    for row, text in _texts(path):
        if len(text.encode()) <= available:
            continue
        tokenizer = tokenizer or Tokenizer.from_file(str(base / "tokenizer.json"))
        tokens = len(tokenizer.encode(text).ids)
        if tokens > available:
            too_long.append((tokens, row))
    if not too_long:
        return ""
    tokens, longest_row = max(too_long)
    count = f"{len(too_long)} of {row} prompts do" if len(too_long) > 1 else f"1 of {row} prompts does"
    cause = (f"{count} not fit the model: the longest, row {longest_row}, has {tokens} tokens, and of {longest} "
             f"positions 'ppo.max_new_tokens' takes {max_new_tokens}.")
    remedy = (f"Lower 'ppo.max_new_tokens' to {longest - tokens}, or leave such prompts out." if tokens < longest
              else "Leave such prompts out of the dataset, or choose a longer model.")
    if 2 * len(too_long) > row:
        raise BadData(cause, remedy)
    return f"{cause} What is too long loses its oldest tokens. {remedy}"


def needed_bytes(recipe: Recipe, home: ModelHome | None = None) -> float:
    """A rough upper estimate of what a run writes: 0 for models on the hub, whose size is unknown.

    A fine-tuned policy is a whole model. An adapter of rank r on every linear layer of a model of width d is about
    2 r / d of its size, kept three times with its optimizer, and twice while a checkpoint replaces another; of a policy
    whose weights are all trained it is the weights in fp32.
    """
    home = home or model_home()
    policy, trunk = home.locate(recipe.policy.base), home.locate(recipe.preference_model.base)
    sft_model = _model_bytes(policy) * (2 if recipe.sft.enabled else 0)
    lora = recipe.policy.lora
    trained = 6 * _adapter_bytes(policy, lora.r) if lora else _fully_trained_bytes(policy)
    settings = recipe.preference_model
    one_model = _model_bytes(trunk) if settings.architecture == "full" else 2 * _adapter_bytes(trunk, settings.lora.r)
    models = len(modelled(recipe))
    return sft_model + trained + one_model * (min(1, models) if settings.architecture == "shared_trunk" else models)


def check_disk_space(folder: Path, needed: float) -> None:
    """Raises DiskFull where the disk of a folder has no room for so many bytes and a margin."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed + MARGIN:
        raise DiskFull(f"The disk has {free / 1e9:.1f} GB free and about {(needed + MARGIN) / 1e9:.1f} GB are needed.",
                       "Free some space, or write the run to another disk; then start it again.")


def _check_preference_model(job: Job, name: str) -> None:
    folder = job.inputs.get(f"preference_model:{name}")
    if folder is None or not (folder / "card.json").is_file():
        raise BadSettings(f"The principle '{name}' has no preference model.",
                          f"Run the stage 'preference_model:{name}' first, or take '{name}' out of 'principles'.")
    card = read_json(folder / "card.json")
    card = card.get("cards", {}).get(name, card)
    mean, std = card.get("mean", 0.0), card.get("std", 1.0)
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise BadSettings(f"The preference model of '{name}' has mean {mean} and spread {std}: its scores say nothing.",
                          "Train it again with more pairs or a lower learning rate.")


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Row, from 1, and text of every prompt; a chat template adds some tokens that are not counted."""
    for row, value in enumerate(read_jsonl(path), 1):
        yield row, generation_prompt(value["prompt"])


def _model_bytes(folder: Path | None) -> float:
    return float(sum(file.stat().st_size for file in folder.glob("*.safetensors"))) if folder else 0.0


def _fully_trained_bytes(folder: Path | None) -> float:
    """The result, at most in fp32, and two checkpoints of weights and AdamW's two moments in fp32."""
    size = size_of_folder(folder) if folder else None
    return (4 + 2 * 3 * 4) * size.parameters if size else 0.0


def _adapter_bytes(folder: Path | None, rank: int) -> float:
    if folder is None:
        return 0.0
    config = read_json(folder / "config.json")
    width = model_shape.width(config) or 1024
    return _model_bytes(folder) * min(1.0, 2 * rank / width)
