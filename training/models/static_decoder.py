"""Decoding by CUDA graphs: a cache of fixed size, and no work for the host per token.

A model of half a billion parameters launches some 1,100 kernels per token. Launched one by one they take 25 ms, of
which the GPU computes three. Here one step (the model, the draw, the bookkeeping) is captured once as a CUDA graph
and replayed; the host looks at the tokens every few steps only, to see whether all rows have ended.

What a graph reads and writes has fixed addresses: the cache, the token of each row, the column to write to. So the
weights must have them too (`language_model.merged` adds the adapter in place), and a graph that is kept is used again
only while the addresses of all weights are the same.

On a CPU the same steps run without a graph, which is how the tests compare them with the plain decoding, family by
family. Other families are decoded by `training.models.decoding`: OPT and MPT, for example, read positions out of a mask
of two dimensions. Left out: rows that leave the batch when they have ended (a step costs the same with fewer rows),
sliding windows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from training.models.decoding import attends_only, attention_window, cache_slot
from training.models.memory import total_bytes

CAPACITY_STEP = 64
"""Columns of a cache are a multiple of this: batches of nearly the same length share a graph."""

KEPT_SHARE = 1 / 32
"""A cache is kept for the next batch if it takes at most this share of the device's memory."""

LOOK_EVERY = 8
"""Steps between two looks of the host at what was drawn."""

_ATTRIBUTE = "_static_decoder"

Draw = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits [rows, vocabulary] and uniform numbers [rows, 1] to tokens and their log-probabilities, [rows] each."""


FAMILIES = frozenset({"gpt2", "gpt_neox", "granite", "llama", "mistral", "olmo2", "phi", "qwen2", "qwen3", "smollm3"})
"""Model types whose answers are tested to be those of plain decoding."""


def can_decode_static(model: Any) -> bool:
    """Whether a model is of such a family, and all of its layers attend to everything before them."""
    if model.config.model_type not in FAMILIES:
        return False
    return cache_slot(model) == "past_key_values" and attends_only(model) and attention_window(model) is None


class StaticLayer(DynamicLayer):
    """Keys and values with a fixed number of columns. New ones are written at `column`, which all layers share."""

    def __init__(self, capacity: int, column: Tensor) -> None:
        super().__init__()
        self._capacity, self._column = capacity, column

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self._capacity, key_states.shape[-1])
            self.keys = key_states.new_zeros(shape)
            self.values = value_states.new_zeros((*shape[:3], value_states.shape[-1]))
        # A prompt is written to the first columns, a token to the column that the graph reads from the device.
        new = key_states.shape[-2]
        columns = self._column if new == 1 else torch.arange(new, device=key_states.device)
        self.keys.index_copy_(2, columns, key_states)
        self.values.index_copy_(2, columns, value_states)
        return self.keys, self.values


class StaticDecoder:
    """Decodes batches of one shape: `rows` rows of at most `capacity` tokens, prompts and responses together.

    Args:
        model: a causal language model for which `can_decode_static` holds.
        draw: how a token is drawn; captured with the step.
    """

    def __init__(self, model: Any, rows: int, capacity: int, draw: Draw) -> None:
        self._model, self._draw = model, draw
        self.rows, self.capacity = rows, capacity
        device = model.device
        self._column = torch.zeros(1, dtype=torch.int64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._tokens = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        # Added to attention scores: a mask of bools would be turned into one of these in every layer.
        self._masked_score = torch.finfo(model.dtype).min
        self._mask = torch.zeros(rows, 1, 1, capacity, dtype=model.dtype, device=device)
        self._uniform = torch.zeros(capacity, rows, device=device)
        self._drawn = torch.zeros(capacity, rows, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(capacity, rows, device=device)
        self._cache = Cache(layer_class_to_replicate=lambda: StaticLayer(capacity, self._column))
        self._graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def start(self, prompts: Tensor, prompt_mask: Tensor, uniform: Tensor) -> None:
        """Read the prompts and draw the first token of each row.

        Args:
            prompts, prompt_mask: padded at the left, [rows, prompt].
            uniform: a number in [0, 1) for every token that may be drawn, [steps, rows].
        """
        width = prompts.shape[1]
        self._uniform[:len(uniform)].copy_(uniform)
        self._step.zero_()
        self._column.fill_(width - 1)
        self._mask.fill_(self._masked_score)
        self._mask[:, 0, 0, :width].masked_fill_(prompt_mask.bool(), 0)
        # A token sees itself and what is before it; padding sees itself alone, for a row that sees nothing has no mean.
        causal = torch.ones(width, width, dtype=torch.bool, device=prompts.device).tril()
        itself = torch.eye(width, dtype=torch.bool, device=prompts.device)
        mask = self._mask.new_full((len(prompts), 1, width, self.capacity), self._masked_score)
        mask[:, 0, :, :width].masked_fill_(causal & prompt_mask.bool()[:, None, :] | itself, 0)
        positions = (prompt_mask.cumsum(dim=1) - 1).clamp(min=0)
        self._positions.copy_(positions[:, -1:])
        self._record_draw(self._logits(prompts, mask, positions))

    @torch.no_grad()
    def advance(self) -> None:
        """Read the tokens that were drawn last and draw the next one of every row."""
        if not self._tokens.is_cuda:
            return self._read_and_draw()
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()

    def drawn(self, steps: int) -> Tensor:
        """The tokens that were drawn in the first `steps` steps, [rows, steps]."""
        return self._drawn[:steps].T

    def drawn_logprobs(self, steps: int) -> Tensor:
        """The log-probabilities of the tokens that were drawn in the first `steps` steps, [rows, steps]."""
        return self._logprobs[:steps].T

    def _read_and_draw(self) -> None:
        self._column += 1
        self._positions += 1
        self._mask.index_fill_(3, self._column, 0)
        self._record_draw(self._logits(self._tokens, self._mask, self._positions))

    def _logits(self, tokens: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        output = self._model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True,
                             past_key_values=self._cache, logits_to_keep=1)
        logits: Tensor = output.logits[:, -1]
        return logits

    def _record_draw(self, logits: Tensor) -> None:
        """Draw from the logits; write the tokens down, and where the next step reads them."""
        tokens, logprobs = self._draw(logits, self._uniform.index_select(0, self._step).T)
        self._drawn.index_copy_(0, self._step, tokens.unsqueeze(0))
        self._logprobs.index_copy_(0, self._step, logprobs.unsqueeze(0))
        self._tokens.copy_(tokens.unsqueeze(1))
        self._step += 1

    def _capture(self) -> torch.cuda.CUDAGraph:
        """The graph of one step. Libraries choose their kernels in a step that is undone before the capture."""
        state = (self._column, self._step, self._tokens, self._positions)
        before = [tensor.clone() for tensor in state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        was_enabled = torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cuda.enable_cudnn_sdp(True)  # the fastest for one query, and its plan is made once
        try:
            with torch.cuda.stream(stream):
                self._read_and_draw()
            torch.cuda.current_stream().wait_stream(stream)
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)  # what else was written is written again by the first replay
            with torch.cuda.graph(graph):
                self._read_and_draw()
        finally:
            torch.backends.cuda.enable_cudnn_sdp(was_enabled)
        return graph


def static_decoder(model: Any, rows: int, tokens: int, draw: Draw, sampling: object) -> StaticDecoder:
    """A decoder for `rows` rows of at most `tokens` tokens: the one of the model's last batch, if it fits.

    It is kept as an attribute of the model, and goes with it.

    Args:
        sampling: what `draw` depends on; compared by equality.
    """
    capacity = -(-tokens // CAPACITY_STEP) * CAPACITY_STEP
    addresses = tuple(parameter.data_ptr() for parameter in model.parameters())
    key = (rows, capacity, sampling, _adds_adapter(model), addresses)
    earlier: tuple[object, StaticDecoder] | None = vars(model).pop(_ATTRIBUTE, None)
    if earlier is None or earlier[0] != key:
        earlier = None  # its memory is free before another takes as much
        earlier = key, StaticDecoder(model, rows, capacity, draw)
    if _is_worth_keeping(model, rows, capacity):
        vars(model)[_ATTRIBUTE] = earlier
    return earlier[1]


def _adds_adapter(model: Any) -> bool:
    """Whether a layer computes its adapter beside its base: such a graph is another than that of a merged adapter."""
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    return any(not layer.merged and not layer.disable_adapters for layer in layers)


def _is_worth_keeping(model: Any, rows: int, capacity: int) -> bool:
    return model.device.type == "cuda" and (
        _cache_bytes(model, rows, capacity) <= total_bytes(model.device) * KEPT_SHARE)


def _cache_bytes(model: Any, rows: int, capacity: int) -> int:
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * rows * capacity * heads * width * model.dtype.itemsize)
