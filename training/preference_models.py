"""Preference models: a response in, one score a principle out, higher is better.

A LoRA adapter on a shared base and a linear head on the hidden state of the last token, as in MORLAIF (arXiv
2406.07295), one a principle. The end token is appended to every response and the last real token is found by the
attention mask, so that training and scoring read the same position whatever the padding is made of. Raw scores are on
no common scale: `score` standardises them with the mean and spread frozen when the model was trained.

Left out: K heads on one trunk, and bases with no `AutoModel`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from training.artifacts import read_json
from training.config import Lora
from training.dialogue import Dialogue
from training.errors import ModelUnavailable
from training.models import base_location, encode_prompt, load_tokenizer, memory_named, pad_id

SMALL = 50_000_000
"""Up to so many parameters each model gets a merged copy of the base of its own: switching adapters costs more."""

CARD, HEAD = "card.json", "head.safetensors"


class PreferenceModel(nn.Module):
    """A trunk and a linear head: token ids to one score a row."""

    def __init__(self, trunk: Any, head: nn.Linear) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores [batch] in fp32 of ids [batch, tokens] padded at the right, mask 1 on real tokens."""
        hidden = self.trunk(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        return self.head(last.float()).squeeze(-1)


def soft_bradley_terry(difference: Tensor, probability: Tensor) -> Tensor:
    """-p log sigmoid(d) - (1 - p) log sigmoid(-d), elementwise.

    Args:
        difference: score of `a` minus score of `b`, [batch].
        probability: that `a` is the better one, [batch].
    """
    return -probability * logsigmoid(difference) - (1 - probability) * logsigmoid(-difference)


def encode(tokenizer: Any, prompt: Dialogue, response: str, max_length: int) -> list[int]:
    """Token ids of prompt, response and end token; what is too long loses its beginning."""
    reply = response if tokenizer.chat_template else " " + response
    ids = encode_prompt(tokenizer, prompt) + list(tokenizer(reply, add_special_tokens=False)["input_ids"])
    return [*ids, tokenizer.eos_token_id][-max_length:]


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Ids and mask, both [rows, longest], padded at the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


def load_trunk(base: str, device: torch.device | str, precision: str) -> Any:
    """The decoder of a base without its language head, frozen. Raises ModelUnavailable."""
    from transformers import AutoModel

    try:
        with memory_named():
            trunk = AutoModel.from_pretrained(
                base_location(base), trust_remote_code=False, use_safetensors=True,
                dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
            return trunk.to(device).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise ModelUnavailable(f"The base '{base}' of a preference model could not be loaded: {reason}.",
                               "Check its name and your access to the hub, or name a local folder.") from error


def new_model(base: str, lora: Lora, device: torch.device | str, precision: str) -> tuple[PreferenceModel, Any]:
    """A trainable preference model and the peft model that saves its adapter; the caller seeds torch."""
    from peft import LoraConfig, get_peft_model

    trunk = load_trunk(base, device, precision)
    wanted = LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear")
    adapter = get_peft_model(trunk, wanted)
    # peft notes where the base was loaded from; the name in the recipe is what means the same elsewhere.
    adapter.peft_config["default"].base_model_name_or_path = base
    head = nn.Linear(trunk.config.hidden_size, 1, bias=False)
    nn.init.normal_(head.weight, std=trunk.config.hidden_size ** -0.5)
    return PreferenceModel(trunk, head.to(device)), adapter


def save(folder: Path, model: PreferenceModel, adapter: Any) -> None:
    """Write the adapter and the head; `card.json` is the stage's to write."""
    adapter.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub about the base
    save_file({"weight": model.head.weight.detach().cpu().contiguous()}, folder / HEAD)


@dataclass
class _Family:
    """Preference models on one base: they share its tokenizer, and its weights unless it is small.

    `models` holds one model a name where each has its own merged copy; else all names share `models[0]`'s trunk, and
    `adapter` switches it.
    """

    base: str
    max_length: int
    tokenizer: Any
    pad: int
    names: list[str]
    models: list[PreferenceModel]
    adapter: Any = None


class PreferenceModels:
    """The trained preference models of a run, ready to score.

    Attributes:
        names: principles, in the order of the columns of every score.
        mean, std: [principle], what raw scores are standardised with.
    """

    def __init__(self, names: list[str], families: list[_Family], mean: Tensor, std: Tensor, device: str) -> None:
        self.names = names
        self.mean, self.std = mean, std
        self._families = families
        self._device = device

    @classmethod
    def load(cls, folders: Mapping[str, Path], device: torch.device | str = "cpu",
             precision: str = "fp32") -> PreferenceModels:
        """Load the models of several principles.

        Args:
            folders: by principle, the folder that its preference_model stage made.

        Raises:
            ModelUnavailable: a folder or its base cannot be loaded.
        """
        cards = {name: _card(folder) for name, folder in folders.items()}
        by_base: dict[tuple[str, int], list[str]] = {}
        for name, card in cards.items():
            by_base.setdefault((card["base"], card["max_length"]), []).append(name)
        families = [_load_family(base, length, {name: folders[name] for name in names}, str(device), precision)
                    for (base, length), names in by_base.items()]
        mean, std = (torch.tensor([cards[name][key] for name in folders], device=device) for key in ("mean", "std"))
        return cls(list(folders), families, mean, std, str(device))

    @torch.no_grad()  # not inference_mode: its tensors could not take part in a loss later
    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Raw scores [batch, principle]. Each row depends on its own prompt and response only."""
        raw = torch.empty(len(responses), len(self.names), device=self._device)
        for family in self._families:
            rows = [encode(family.tokenizer, prompt, response, family.max_length)
                    for prompt, response in zip(prompts, responses, strict=True)]
            # Rows of like length together: little padding. All of them through one adapter, then the next.
            order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
            batches = []
            for start in range(0, len(order), batch_size):
                chosen = order[start:start + batch_size]
                batches.append((chosen, *padded([rows[index] for index in chosen], family.pad, self._device)))
            for name, model in zip(family.names, family.models, strict=True):
                if family.adapter is not None:
                    # Without inference_mode, set_adapter would make this adapter's weights trainable.
                    family.adapter.set_adapter(name, inference_mode=True)
                column = self.names.index(name)
                for chosen, ids, mask in batches:
                    raw[chosen, column] = model(ids, mask)
        return raw

    def score(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Standardised scores [batch, principle]: mean 0 and spread 1 on the responses that each model learnt from."""
        return (self.score_raw(prompts, responses, batch_size) - self.mean) / self.std


def _card(folder: Path) -> dict[str, Any]:
    if not (folder / CARD).is_file():
        raise ModelUnavailable("The folder of a preference model holds no card.json.", "Train it again.")
    card: dict[str, Any] = read_json(folder / CARD)
    return card


def _load_family(base: str, max_length: int, folders: Mapping[str, Path], device: str, precision: str) -> _Family:
    from peft import PeftModel

    tokenizer = load_tokenizer(base)
    trunk = load_trunk(base, device, precision)
    pad = pad_id(tokenizer, (tokenizer.eos_token_id,))
    heads = [_load_head(folder, trunk.config.hidden_size, device) for folder in folders.values()]
    small = sum(parameter.numel() for parameter in trunk.parameters()) <= SMALL
    try:
        if small:
            trunks = [PeftModel.from_pretrained(copy.deepcopy(trunk), str(folder), torch_device=device)
                      .merge_and_unload() for folder in folders.values()]
            adapter = None
        else:
            first, *others = folders.items()
            adapter = PeftModel.from_pretrained(trunk, str(first[1]), adapter_name=first[0], torch_device=device)
            for name, folder in others:
                adapter.load_adapter(str(folder), adapter_name=name, torch_device=device)
            trunks = [trunk] * len(heads)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelUnavailable(f"A preference model does not fit its base '{base}': {error}.",
                               "Train it again on this base.") from error
    models = [PreferenceModel(own, head).eval().requires_grad_(False) for own, head in zip(trunks, heads, strict=True)]
    return _Family(base, max_length, tokenizer, pad, list(folders), models, adapter)


def _load_head(folder: Path, hidden: int, device: str) -> nn.Linear:
    head = nn.Linear(hidden, 1, bias=False)
    try:
        head.load_state_dict(load_file(folder / HEAD))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelUnavailable(f"The head of a preference model cannot be read: {error}.", "Train it again.") from error
    return head.to(device)
