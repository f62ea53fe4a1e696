"""From a prompt and a response to the token ids that a preference model reads.

Left out: chat templates that give a reply an end of their own; the tokenizer's end token is what ends it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.dialogue import Dialogue
from training.models.encoding import encode_prompt, encode_reply


def encode(tokenizer: Any, prompt: Dialogue, response: str, max_length: int) -> list[int]:
    """Token ids of prompt, response and end token; what is too long is cut at the left.

    A token of the response that the model has no row for is left out: a response may be a policy's, which cannot be
    asked for another.

    Raises:
        BadData, ModelUnavailable: see `encode_prompt`.
    """
    return [*encode_prompt(tokenizer, prompt), *_reply(tokenizer, response), tokenizer.eos_token_id][-max_length:]


def reply_length(tokenizer: Any, response: str) -> int:
    """Tokens of a response with its end token, before truncation."""
    return len(_reply(tokenizer, response)) + 1


def padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Ids and mask, both [rows, longest], padded at the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


def _reply(tokenizer: Any, response: str) -> list[int]:
    return encode_reply(tokenizer, response, leave_out_unknown=True)
