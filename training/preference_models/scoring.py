"""The trained preference models of a run, ready to score: whatever their architecture, a table [batch, principle].

Models share work where they can: the heads of one trunk are computed in one pass; adapters on one base share the layers
below the lowest adapted one, and above it they are batched on one base where merged copies would be too large.

Left out: models on several devices, and thread safety.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from training.dialogue import Dialogue
from training.errors import ModelUnavailable
from training.models.language_model import load_tokenizer, pad_id
from training.models.loaded_shape import last_width
from training.preference_models.model import TRUNK, PreferenceModel, last_of, load_head, load_trunk
from training.preference_models.split import SplitTrunk, decoder_layers, groups, splits_exactly, stack_adapters
from training.preference_models.texts import encode, padded, reply_length
from training.quality.quality_card import card_of

SMALL = 50_000_000
"""With up to so many parameters above the cut, each principle gets a merged copy of them: low-rank products cost more
in time than such copies in memory."""

TOKENS_AT_ONCE = 16_384
"""Rows times tokens that go through stacked adapters together: enough to fill a GPU."""


@dataclass
class _Family:
    """Preference models that are scored together: `score` maps ids and mask [rows, tokens] to [rows, names] in fp32."""

    names: list[str]
    base: str
    max_length: int
    tokenizer: Any
    pad: int
    score: Callable[[Tensor, Tensor], Tensor]


class PreferenceModels:
    """The trained preference models of a run, ready to score.

    Attributes:
        names: principles, in the order of the columns of every score.
        mean, std: [principle], what raw scores are standardised with.
    """

    def __init__(self, names: list[str], families: list[_Family], cards: Sequence[Mapping[str, Any]],
                 device: str) -> None:
        self.names = names
        self.mean, self.std = (torch.tensor([card[key] for card in cards], device=device) for key in ("mean", "std"))
        self._families = families
        self._device = device
        # For models trained with debias_length, the linear part of the length is removed from raw scores.
        self._slope = torch.tensor([card.get("length_slope", 0.0) for card in cards], device=device)
        self._length = torch.tensor([card.get("length_mean", 0.0) for card in cards], device=device)
        self._debiased = {name for name, card in zip(names, cards, strict=True) if card.get("length_slope", 0.0)}

    @classmethod
    def load(cls, folders: Mapping[str, Path], device: torch.device | str = "cpu",
             precision: str = "fp32") -> PreferenceModels:
        """Load the models of several principles.

        Args:
            folders: by principle, the folder of the preference_model stage that serves it; one may serve several.

        Raises:
            ModelUnavailable: a folder or its base cannot be loaded.
        """
        cards = {name: card_of(folder, name) for name, folder in folders.items()}
        together: dict[tuple[Any, ...], list[str]] = {}
        for name, card in cards.items():
            kind = card.get("architecture", "separate")
            # Adapters on the same layers of one base are scored together; so are the heads of one trunk.
            own = card.get("lora_layers", 0) if kind == "separate" else folders[name]
            together.setdefault((kind, card["base"], card["max_length"], own), []).append(name)
        families = []
        for (kind, base, max_length, own), names in together.items():
            family_folders = {name: folders[name] for name in names}
            tokenizer = load_tokenizer(base)
            if kind == "separate":
                score = _separate(base, family_folders, own, str(device), precision)
            else:
                score = _one_trunk(base, own, [cards[name].get("head", 0) for name in names], str(device), precision,
                                   full=kind == "full")
            families.append(_Family(names, base, max_length, tokenizer, pad_id(tokenizer, (tokenizer.eos_token_id,)),
                                    score))
        return cls(list(folders), families, list(cards.values()), str(device))

    @torch.no_grad()  # not inference_mode: its tensors could not take part in a loss later
    def score_raw(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Raw scores [batch, principle]. Each row depends on its own prompt and response only."""
        raw = torch.empty(len(responses), len(self.names), device=self._device)
        for family in self._families:
            columns = [self.names.index(name) for name in family.names]
            rows = [encode(family.tokenizer, prompt, response, family.max_length)
                    for prompt, response in zip(prompts, responses, strict=True)]
            # Rows of similar length together, for little padding.
            order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
            scores = torch.empty(len(rows), len(columns), device=self._device)
            for start in range(0, len(order), batch_size):
                chosen = order[start:start + batch_size]
                scores[chosen] = family.score(*padded([rows[i] for i in chosen], family.pad, self._device))
            if self._debiased.intersection(family.names):
                lengths = [float(reply_length(family.tokenizer, response)) for response in responses]
                over = torch.tensor(lengths, device=self._device)[:, None] - self._length[columns]
                scores = scores - self._slope[columns] * over
            raw[:, columns] = scores
        return raw

    def score(self, prompts: Sequence[Dialogue], responses: Sequence[str], batch_size: int = 64) -> Tensor:
        """Standardised scores [batch, principle]: mean 0 and spread 1 on the responses that each model learnt from."""
        return (self.score_raw(prompts, responses, batch_size) - self.mean) / self.std


def _one_trunk(base: str, folder: Path, heads: list[int], device: str, precision: str, full: bool) -> (
        Callable[[Tensor, Tensor], Tensor]):
    """Heads of one trunk: one pass scores all of them."""
    trunk = load_trunk(folder / TRUNK if full else base, device, precision)
    trunk = trunk if full else merged_trunk(trunk, folder, base, device)
    model = PreferenceModel(trunk, load_head(folder, last_width(trunk), device)).eval().requires_grad_(False)
    return lambda ids, mask: model(ids, mask)[:, heads]


def _separate(base: str, folders: Mapping[str, Path], lora_layers: int, device: str, precision: str) -> (
        Callable[[Tensor, Tensor], Tensor]):
    """Adapters on one base: what is below them is computed once."""
    trunk = load_trunk(base, device, precision)
    layers = decoder_layers(trunk)[1]
    cut = len(layers) - lora_layers if lora_layers else 0
    if not splits_exactly(trunk, cut):
        cut = 0
    width = last_width(trunk)
    heads = torch.cat([load_head(folder, width, device).weight for folder in folders.values()])
    if sum(parameter.numel() for layer in layers[cut:] for parameter in layer.parameters()) <= SMALL:
        copies = [merged_trunk(copy.deepcopy(trunk), folder, base, device) for folder in folders.values()]
        return _copies(trunk, cut, copies, heads.detach())
    return _stacked(trunk, cut, folders, heads.detach(), base, device)


def _copies(trunk: Any, cut: int, merged: list[Any], heads: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Each principle's adapter merged into a copy of the layers above the cut."""
    split = SplitTrunk(trunk, cut)
    uppers = [split.upper(decoder_layers(copied)[1][cut:]) for copied in merged] if cut else merged

    def score(ids: Tensor, mask: Tensor) -> Tensor:
        split.lower(ids, mask)
        last = [last_of(upper(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state, mask)
                for upper in uppers]
        return torch.stack([hidden.float() @ head for hidden, head in zip(last, heads, strict=True)], dim=1)

    return score


def _stacked(trunk: Any, cut: int, folders: Mapping[str, Path], heads: Tensor, base: str, device: str) -> (
        Callable[[Tensor, Tensor], Tensor]):
    """All adapters stacked on one base: rows of several principles go through its matrices together."""
    from peft import PeftModel

    split = SplitTrunk(trunk, cut)
    # peft forbids some names that a principle may have.
    adapters = {f"principle-{index}": folder for index, folder in enumerate(folders.values())}
    with _fitting(base):
        first, *others = adapters.items()
        wrapped = PeftModel.from_pretrained(trunk, str(first[1]), adapter_name=first[0], torch_device=device)
        for name, folder in others:
            wrapped.load_adapter(str(folder), adapter_name=name, torch_device=device)
    stack_adapters(trunk, list(adapters), split.context)
    upper = split.upper(decoder_layers(trunk)[1][cut:])

    def score(ids: Tensor, mask: Tensor) -> Tensor:
        split.lower(ids, mask)
        shared = split.context.hidden
        scores = []
        for group in groups(len(heads), ids.numel(), TOKENS_AT_ONCE):
            many = group.stop - group.start
            split.context.group = group
            split.context.hidden = None if shared is None else shared.repeat(many, 1, 1)
            all_ids, all_mask = ids.repeat(many, 1), mask.repeat(many, 1)
            hidden = upper(input_ids=all_ids, attention_mask=all_mask, use_cache=False).last_hidden_state
            last = last_of(hidden, all_mask).float().view(many, len(ids), -1)
            scores.append(torch.einsum("krh,kh->rk", last, heads[group]))
        return torch.cat(scores, dim=1)

    return score


def merged_trunk(trunk: Any, folder: Path, base: str, device: str) -> Any:
    """The trunk with the adapter of a preference model merged into its weights. Raises ModelUnavailable."""
    from peft import PeftModel

    with _fitting(base):
        return PeftModel.from_pretrained(trunk, str(folder), torch_device=device).merge_and_unload()


@contextmanager
def _fitting(base: str) -> Iterator[None]:
    """Translate peft's errors about an adapter that does not fit its base. Raises ModelUnavailable."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelUnavailable(f"A preference model does not fit its base '{base}': {error}.",
                               "Train it again on this base.") from error
