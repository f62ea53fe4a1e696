"""Checks before a run draws a sample or buys a label: of the bases, by their configs and tokenizers without weights.

`training.run.checks` looks at folders when a run is started. A model on the hub can be checked only where it can be
loaded: by the first stages of a run, in their process. They check every base of the run, also those that later stages
load, and try each chat template on every shape of prompt in the run's data. Whether a policy decodes exactly is
measured by the first stage that loads it (`training.models.exactness`); where that would come after labels were bought,
small policies are measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from training.config import DEMO_WORLD
from training.dialogue import Dialogue
from training.errors import BadData, BadSettings, ModelUnavailable
from training.models.encoding import rendered, unknown_tokens
from training.models.exactness import check_decoding
from training.models.language_model import load, load_config, load_tokenizer, name_of
from training.run import model_shape
from training.run.artifacts import read_jsonl
from training.run.model_names import locate
from training.run.reporting import Reporter

PREFERENCE_MODEL = "preference_model.base"


SMALL = 500e6
"""Bytes of weights of a policy that may be loaded just to be measured."""


def check(task: Mapping[str, Any], reporter: Reporter, measure: bool = False) -> None:
    """Refuse bases that cannot serve and data that their templates refuse.

    Args:
        task: as `jobs.runtime_of` makes it: `bases` by setting, `lengths` by setting, `files` by role.
        measure: load a small policy of a folder too and measure whether it decodes exactly, because this stage will
            not; a large one is left to the first stage that loads it.

    Raises:
        BadData: naming a row that a template or a model cannot take.
        BadSettings: more is to be read or written than a model has positions.
        ModelUnavailable: a base cannot be loaded, or is of a family that cannot serve.
    """
    files = {role: Path(path) for role, path in task["files"].items()}
    for field, base in task["bases"].items():
        if base == DEMO_WORLD:
            continue
        config = load_config(base)
        _check_family(field, base, config)
        _check_lengths(field, base, config, task["lengths"])
        tokenizer = load_tokenizer(base)
        if field == "judge.model":
            continue  # it reads questions, not the prompts themselves
        if _check_texts(field, base, tokenizer, files):
            reporter.warning("system_message_moved", f"The chat template of '{name_of(base)}' takes no system "
                             "message: it is put at the beginning of the first user turn.")
    policy = task["bases"].get("policy.base", DEMO_WORLD)
    if measure and policy != DEMO_WORLD and _is_small(policy):
        check_decoding(load(policy, torch.device("cpu")), "policy.base")


def _is_small(base: str) -> bool:
    folder = locate(base)
    return folder is not None and sum(file.stat().st_size for file in folder.glob("*.safetensors")) < SMALL


def _check_family(field: str, base: str, config: Any) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    values = config.to_dict()
    if refusal := model_shape.why_no_policy(values, writes=field != PREFERENCE_MODEL):
        raise ModelUnavailable(f"'{field}' names '{name_of(base)}', which {refusal}.",
                               "Choose a decoder with attention, whose architecture ends in ForCausalLM.")
    loader = AutoModel if field == PREFERENCE_MODEL else AutoModelForCausalLM
    if type(config) not in loader._model_mapping:
        raise ModelUnavailable(f"'{field}' names '{name_of(base)}', a model of the family {config.model_type}: "
                               "it cannot write a response.", "Choose a decoder that transformers loads as causal.")


def _check_lengths(field: str, base: str, config: Any, lengths: Mapping[str, int]) -> None:
    """Hub ids alone: those of a folder are checked before the run, by the same rule."""
    longest = model_shape.positions(config.to_dict())
    for setting, tokens in lengths.items():
        is_read = setting.startswith("preference_model.")
        if longest is None or is_read != (field == PREFERENCE_MODEL) or field == "judge.model":
            continue
        if tokens > longest or (tokens == longest and not is_read):
            lower = longest if is_read else longest // 2
            raise BadSettings(f"'{setting}' is {tokens}, and '{name_of(base)}' has {longest} positions.",
                              f"Lower '{setting}' to {lower}, or choose a longer model.")


def _check_texts(field: str, base: str, tokenizer: Any, files: Mapping[str, Path]) -> bool:
    """Whether a system message had to be moved."""
    unknown = unknown_tokens(tokenizer)
    tried: set[tuple[tuple[str, bool], ...]] = set()
    is_moved = False
    for role, path in files.items():
        for row, value in enumerate(read_jsonl(path), 1):
            prompt: Dialogue = value["prompt"]
            begins = next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "")[:60]
            where = (f"Row {row} of the {role.replace('_', '-')} ('{begins}...') cannot be read by "
                     f"'{name_of(base)}' ('{field}')")
            for text in _texts(value):
                if token := next((token for token in unknown if token in text), ""):
                    raise BadData(f"{where}: it holds '{token}', a token that the model does not have.",
                                  f"Leave texts with '{token}' out of the data, or choose another base.")
            shape = tuple((message["role"], bool(message["content"].strip())) for message in prompt)
            if tokenizer.chat_template and shape not in tried:
                tried.add(shape)
                try:
                    is_moved |= rendered(tokenizer, prompt).messages != prompt
                except BadData as error:
                    raise BadData(f"{where}. {error.cause}", error.remedy) from error
    return is_moved


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    yield from (message["content"] for message in row["prompt"])
    yield from (row[key] for key in ("response", "a", "b") if isinstance(row.get(key), str))
