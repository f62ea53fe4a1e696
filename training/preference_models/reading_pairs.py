"""A preference model that reads pairs fast: the prompt once, adapters fused, and of the last layer what scores need.

A score is read at one token. All other tokens leave the last layer unused: what its linear maps make of single tokens
(queries, the output of attention, the MLP) is computed for tokens that are read only; keys and values for all.

Whether a trunk gives the same states this way is measured on a few tokens, on the loaded model: a family that counts
positions by itself, takes no mask of four axes or remembers more than keys and values reads responses in rows of their
own. Left out: the same for lower layers, whose every token is seen by the next.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import is_out_of_memory
from training.models.decoding import attends_only, attention_window
from training.models.fused_lora import can_fuse, fused_layers
from training.models.memory import tokens_at_once
from training.preference_models.model import PreferenceModel
from training.preference_models.pair_batches import PairBatch, TokenPair, attention_mask, batches
from training.preference_models.split import decoder_layers
from training.run.memory_plan import SUMMED

SCORED_TOKENS = 16_384
"""Rows times longest row of one pass without gradients, which keeps nothing."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Of the largest state: between two computations that are equal but for rounding, by the trunk's dtype."""

_BY_TOKEN = frozenset({"q_proj", "o_proj", "out_proj", "mlp", "fc1", "fc2"})
"""Modules of a layer that make of each token what depends on that token alone, as families name them."""


class PairReader:
    """Scores of pairs, with gradients; made by `pair_reader`.

    Attributes:
        model: the model that reads.
        shares_prompts: whether the prompt of a pair is read once.
        refresh: call it after each change of the adapter's weights.
    """

    def __init__(self, model: PreferenceModel, pad: int, refresh: Callable[[], None], lora: Sequence[Any]) -> None:
        self.model, self.pad, self.refresh = model, pad, refresh
        self.device = model.head.weight.device
        dropout = any(float(getattr(layer.lora_dropout[layer.active_adapters[0]], "p", 0.0)) for layer in lora)
        fused = bool(lora) and all(can_fuse(layer, with_dropout=True) for layer in lora)
        self._most_tokens = tokens_at_once(model.trunk, self.device, fused, dropout)
        self._window = attention_window(model.trunk) if attends_only(model.trunk) else None
        self._last_layer = _LastLayer(model.trunk)
        self.shares_prompts = False

    def batches(self, pairs: Sequence[TokenPair], most_tokens: int = 0) -> list[PairBatch]:
        """Micro-batches of pairs, as large as the memory allows; the mask of four axes hides no window, so that a
        pair with a longer row is read in two."""
        longest = self._window or max(len(row) for pair in pairs for row in pair)
        shareable = [self.shares_prompts and max(map(len, pair)) <= longest for pair in pairs]
        return batches(pairs, shareable, most_tokens or self._most_tokens, self.pad, self.device)

    def scores(self, batch: PairBatch) -> Tensor:
        """Raw scores [pairs, 2, heads] in fp32, in the order of the batch."""
        scores: Tensor = self.model.head(self._states(batch).float())
        return scores.view(len(batch.indices), 2, -1)

    @torch.no_grad()
    def score_all(self, pairs: Sequence[TokenPair]) -> Tensor:
        """Raw scores [pairs, 2, heads] of any number of pairs, on the CPU."""
        self.model.eval()
        scores = torch.empty(len(pairs), 2, self.model.head.out_features)
        if pairs:
            for batch in self.batches(pairs, SCORED_TOKENS):
                scores[batch.indices] = self.scores(batch).cpu()
        return scores

    def _states(self, batch: PairBatch) -> Tensor:
        """The last hidden states of the ends, [2 * pairs, width]."""
        with self._last_layer.only(batch.ends):
            if batch.segments is None or batch.positions is None:
                hidden = self.model.hidden(batch.ids, batch.mask)
            else:
                mask = attention_mask(batch.segments, self.model.trunk.dtype)
                hidden = self.model.hidden(batch.ids, mask, position_ids=batch.positions)
        return hidden.flatten(0, 1).index_select(0, batch.ends)

    @torch.no_grad()
    def choose_the_fastest_way(self) -> None:
        """Read prompts once, and the last layer at the ends only, where either changes nothing."""
        self.model.eval()
        pair, apart = _probe(self._window, self.model.trunk.get_input_embeddings().num_embeddings), []
        for row in pair:
            ids = torch.tensor([row], device=self.device)
            apart.append(self.model.hidden(ids, torch.ones_like(ids))[0, -1].float())
        plain = torch.stack(apart)
        bound = TOLERANCE.get(self.model.trunk.dtype, TOLERANCE[torch.bfloat16])
        if self.model.precision == "bf16":
            bound = TOLERANCE[torch.bfloat16]
        may_share = attends_only(self.model.trunk) and "position_ids" in inspect.signature(
            self.model.trunk.forward).parameters
        for shares, ends_only in product((True, False), repeat=2):
            if (shares and not may_share) or (ends_only and not attends_only(self.model.trunk)):
                continue
            self.shares_prompts, self._last_layer.is_on = shares, ends_only
            if self._difference(pair, plain) <= bound:
                return
        self.shares_prompts = self._last_layer.is_on = False

    def _difference(self, pair: TokenPair, plain: Tensor) -> float:
        """From the plain states, relative to the largest of them."""
        try:
            [batch] = batches([pair], [self.shares_prompts], SCORED_TOKENS, self.pad, self.device)
            return float((self._states(batch).float() - plain).abs().max() / plain.abs().max())
        except Exception as error:  # a family that does not take such a mask may fail in any way
            if is_out_of_memory(error):
                raise
            return float("inf")


@contextmanager
def pair_reader(model: PreferenceModel, pad: int) -> Iterator[PairReader]:
    """Within it a model reads pairs fast; its own forward stays the plain one, but for fused adapters.

    Args:
        model: a new one, or one whose adapter is in evaluation mode's plain form; nothing of it is replaced for good.
    """
    from peft.tuners.lora import LoraLayer

    lora = [module for module in model.trunk.modules() if isinstance(module, LoraLayer)]
    fusable = [layer for layer in lora if can_fuse(layer, with_dropout=True)]
    weights = sum(layer.get_base_layer().weight.numel() for layer in fusable)
    with fused_layers(model.trunk, fusable, sum_weights=weights <= SUMMED) as refresh:
        reader = PairReader(model, pad, refresh, lora)
        reader.choose_the_fastest_way()
        yield reader


class _LastLayer:
    """The maps of a trunk's last layer that work token by token, and for which tokens."""

    def __init__(self, trunk: Any) -> None:
        self.is_on = False
        self._modules = _by_token(decoder_layers(trunk)[1][-1])

    @contextmanager
    def only(self, ends: Tensor) -> Iterator[None]:
        """Within it they give zeros for all tokens but these, places in the flattened rows."""
        own_forwards = [module.__dict__.get("forward") for module in self._modules] if self.is_on else []
        for module, _ in zip(self._modules, own_forwards, strict=False):
            module.forward = partial(_forward_at, module.forward, ends)
        try:
            yield
        finally:
            for module, own in zip(self._modules, own_forwards, strict=False):
                if own is None:
                    del module.forward
                else:
                    module.forward = own


def _forward_at(forward: Callable[..., Tensor], ends: Tensor, x: Tensor, *more: Any, **named: Any) -> Tensor:
    picked = x.flatten(0, -2).index_select(0, ends)
    made = forward(picked.unsqueeze(0), *more, **named)
    everywhere = made.new_zeros(x.shape[:-1].numel(), made.shape[-1]).index_copy(0, ends, made[0])
    return everywhere.view(*x.shape[:-1], -1)


def _by_token(layer: nn.Module) -> list[Any]:
    """Those modules of a layer, none within another."""
    names = [name for name, _ in layer.named_modules() if name.rpartition(".")[2] in _BY_TOKEN]
    outer = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return [layer.get_submodule(name) for name in outer]


def _probe(window: int | None, vocabulary: int) -> TokenPair:
    """A pair of some tokens whose rows fit a window: prompt, then two responses of different lengths."""
    prompt, a, b = (6, 8, 6) if window is None or window >= 14 else (3, 2, 3)
    ids = [index % vocabulary for index in range(1, 1 + prompt + a + b)]
    return TokenPair(ids[:prompt + a], ids[:prompt] + ids[prompt + a:])
