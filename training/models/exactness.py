"""Whether a model decodes exactly here: measured on the loaded model before anything is sampled from it.

Responses are decoded in a batch padded at the left, with a cache; they are read again in one padded pass. Both must
give the probabilities of the plain forward pass of one unpadded row. A family whose cache or padding works differently
would fail silently: its samples would be noise, and no metric would show it. Two rows of different lengths and a few
tokens take a moment for a model of any size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.errors import ModelUnavailable, is_out_of_memory
from training.models.decoding import Decoder
from training.models.language_model import LanguageModel

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5}
"""Nats between two computations of one log-probability that are equal but for rounding, by the model's dtype. Models
that are inexact differ by whole nats."""

LIKELY = 1e-4
"""Tokens less likely than this are not compared in bf16, whose rounding grows with the logits."""

_PROMPTS, _NEW = (3, 7), 4


class Difference(NamedTuple):
    """The largest differences of log-probabilities from the plain forward pass, in nats."""

    cached: float
    padded: float


def check_decoding(language: LanguageModel, field: str) -> None:
    """Refuse a model whose decoding is not exact.

    Args:
        field: the setting that names the model.

    Raises:
        ModelUnavailable: naming the setting, the model, its family and the difference.
    """
    family = language.model.config.model_type
    named = f"'{field}' names '{language.name}', a model of the family {family}"
    remedy = "Choose another base: a decoder with attention, such as a Llama, Qwen, Gemma, Mistral or GPT-2 model."
    try:
        difference = max(measure(language))
    except Exception as error:  # a family may fail in any way
        if is_out_of_memory(error):
            raise
        words = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
        raise ModelUnavailable(f"{named}: it cannot be decoded here ({words}).", remedy) from error
    bound = TOLERANCE.get(language.model.dtype, TOLERANCE[torch.bfloat16])
    if not difference <= bound:
        raise ModelUnavailable(f"{named}: its decoding here would not be exact (log-probabilities differ by "
                               f"{difference:.2g} nats from the model's own).", remedy)


@torch.no_grad()
def measure(language: LanguageModel) -> Difference:
    """How far cached decoding and a padded pass are from the plain forward pass."""
    model, device = language.model, language.device
    rows = [row.to(device) for row in _rows(language)]
    lengths = [len(row) - _NEW for row in rows]
    width = max(lengths)
    tokens = torch.full((len(rows), width + _NEW), language.pad_id, device=device)
    mask = torch.zeros_like(tokens)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        tokens[index, width - length:], mask[index, width - length:] = row, 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)

    plain = torch.stack([_logprobs(model(input_ids=row[None], use_cache=False).logits[0, length - 1:])
                         for row, length in zip(rows, lengths, strict=True)])
    padded = model(input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, width - 1:]
    decoder = Decoder(model, width + _NEW)
    steps = [decoder.next_logits(tokens[:, :width], mask[:, :width], positions[:, :width])]
    steps += [decoder.next_logits(tokens[:, at: at + 1], mask[:, : at + 1], positions[:, at: at + 1])
              for at in range(width, width + _NEW)]
    return Difference(_largest_difference(torch.stack(steps, dim=1), plain), _largest_difference(padded, plain))


def _rows(language: LanguageModel) -> list[Tensor]:
    """Two rows of ordinary tokens, of different lengths, each a prompt and a continuation."""
    special = set(language.tokenizer.all_special_ids)
    count = int(language.model.get_input_embeddings().weight.shape[0])
    ordinary = torch.tensor([token for token in range(min(count, 5_000)) if token not in special] or [0])
    generator = torch.Generator().manual_seed(0)
    return [ordinary[torch.randint(len(ordinary), (min(length, max(1, language.longest - _NEW)) + _NEW,),
                                   generator=generator)] for length in _PROMPTS]


def _logprobs(logits: Tensor) -> Tensor:
    return logits.float().log_softmax(-1)


def _largest_difference(logits: Tensor, plain: Tensor) -> float:
    """The largest difference over likely tokens; over all tokens in fp32."""
    compared = (plain > torch.tensor(LIKELY).log()) | (logits.dtype == torch.float32)
    return float(torch.where(compared, (_logprobs(logits) - plain).abs(), 0.0).max())
