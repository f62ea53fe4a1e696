"""The cache of a model that decodes: the right kind for every family, and the calls that use it.

Attention layers keep keys and values in buffers that are allocated once, at full size; rows that have ended can be
dropped. A model with other layers (state-space, convolution, linear attention) makes its own cache, as transformers
would: its states have a fixed size, and no row can be dropped. Whether decoding is exact is measured
(`training.models.exactness`).
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

_SLOTS = ("past_key_values", "cache_params", "state")
"""Names under which families take and return their cache."""


class Decoder:
    """Next-token logits of a growing batch; each call reads the tokens that are new.

    Args:
        model: a transformers causal language model.
        capacity: tokens that a row can have, prompt and response.
    """

    def __init__(self, model: Any, capacity: int) -> None:
        self._model = model
        self._slot = cache_slot(model)
        self.can_drop_rows = attends_only(model)
        self._cache: Any = None  # None where the family has its own kind of cache, which the model makes
        if self.can_drop_rows:
            # Sliding layers keep all keys as well: the model's mask hides what is outside the window.
            self._cache = Cache(layer_class_to_replicate=partial(PreallocatedLayer, capacity))
        elif model._supports_default_dynamic_cache():
            self._cache = DynamicCache(config=model.config)
        self._has_read = False

    def next_logits(self, tokens: Tensor, attention: Tensor, positions: Tensor) -> Tensor:
        """Logits [rows, vocabulary] after the last token.

        Args:
            tokens: those that are not in the cache yet, [rows, new].
            attention: 1 on tokens, 0 on padding, [rows, cached and new].
            positions: of the new tokens, [rows, new].
        """
        if self._slot != "past_key_values" and self._has_read:
            # A model without attention has its past in its state; the mask covers the new tokens only.
            attention = attention[:, -tokens.shape[1]:]
        cache = {} if self._cache is None else {self._slot: self._cache}
        output = self._model(input_ids=tokens, attention_mask=attention, position_ids=positions, use_cache=True,
                             logits_to_keep=1, **cache)
        self._cache = getattr(output, self._slot, None) if self._cache is None else self._cache
        self._has_read = True
        logits: Tensor = output.logits[:, -1]
        return logits

    def drop_rows(self, keep: Tensor) -> None:
        """Keep only these rows; only where `can_drop_rows`."""
        self._cache.batch_select_indices(keep)


def cache_slot(model: Any) -> str:
    """The name of the argument by which a model takes its cache."""
    names = inspect.signature(model.forward).parameters
    return next((slot for slot in _SLOTS if slot in names), _SLOTS[0])


def attends_only(model: Any) -> bool:
    """Whether all that a model remembers are keys and values of attention."""
    if _SLOTS[0] not in inspect.signature(model.forward).parameters or getattr(model, "_is_stateful", False):
        return False
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer)
               for layer in DynamicCache(config=model.config).layers)


def attention_window(model: Any) -> int | None:
    """The shortest attention window of all layers, in columns; None where all of them see everything."""
    windows = [layer.sliding_window for layer in DynamicCache(config=model.config).layers
               if isinstance(layer, DynamicSlidingWindowLayer)]
    return min(windows, default=None)


class PreallocatedLayer(DynamicLayer):
    """A layer of a key-value cache whose buffers are allocated at full size: a new token is written in place, where
    transformers' own layer copies the whole cache at every token."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        used = self.get_seq_length()
        now = used + key_states.shape[-2]
        if not used:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [self._preallocated(state) for state in (key_states, value_states)]
        for buffer, state in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, used:now] = state
        self.keys, self.values = (buffer[:, :, :now] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        used = self.get_seq_length()
        states = [buffer[indices, :, :used] for buffer in self._buffers]
        self._buffers = [self._preallocated(state) for state in states]
        for buffer, state in zip(self._buffers, states, strict=True):
            buffer[:, :, :used] = state
        self.keys, self.values = (buffer[:, :, :used] for buffer in self._buffers)

    def _preallocated(self, state: Tensor) -> Tensor:
        return state.new_empty(*state.shape[:2], self._capacity, state.shape[-1])
