"""Pairs as tensors: two responses to a prompt in one row or in two, rows of similar length together.

One row is prompt, a, b. Tokens of b stand at the positions that they would have right after the prompt and do not see
a, so that both responses get the states of rows of their own while the prompt is read once. What is shared is the
longest common beginning of the two rows' tokens, whatever the text: it may end within the prompt, where its beginning
was cut, or after the first words of both responses.

Left out: several pairs packed into one row, whose attention would cost the square of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FIXED_COST = {"cpu": 128, "cuda": 4096}
"""What one more pass costs beside its tokens, in tokens: launching it, and a GPU that small passes do not fill."""

_PROMPT, _A, _B, _PADDING = range(4)


class TokenPair(NamedTuple):
    """The token ids of two responses, each behind the prompt."""

    a: Sequence[int]
    b: Sequence[int]


class PairBatch(NamedTuple):
    """Pairs that go through a model together.

    Attributes:
        indices: which pairs, in the order of the rows.
        ids: [rows, tokens].
        segments: of a token of a shared row: prompt, a, b or padding; [rows, tokens], None where responses have rows of
            their own.
        positions: [rows, tokens]; None where the mask alone tells them.
        mask: 1 on tokens, 0 on padding, [rows, tokens].
        ends: where in the flattened rows the last tokens of a and b are, [2 * pairs], a before b.
    """

    indices: list[int]
    ids: Tensor
    segments: Tensor | None
    positions: Tensor | None
    mask: Tensor
    ends: Tensor


def common_prefix(pair: TokenPair) -> int:
    """Tokens that both rows begin with; at least the last one of each is not among them.

    >>> common_prefix(TokenPair([5, 6, 7, 1], [5, 6, 8, 1])), common_prefix(TokenPair([5, 1], [5, 1]))
    (2, 1)
    """
    most = min(len(pair.a), len(pair.b)) - 1
    return next((index for index in range(most) if pair.a[index] != pair.b[index]), most)


def saves(pair: TokenPair, shared: int) -> bool:
    """Whether one row is cheaper than two: its attention spans both responses, so that enough must be shared."""
    return 8 * shared >= len(pair.a) + len(pair.b)


def batches(pairs: Sequence[TokenPair], shareable: Sequence[bool], most_tokens: int, pad: int,
            device: torch.device) -> list[PairBatch]:
    """All pairs in batches of rows of similar length, at most so many tokens each with the padding, a pair at least.

    Args:
        shareable: whether a pair may be read as one row; it is where that is cheaper.
    """
    prefixes = [common_prefix(pair) if may else 0 for pair, may in zip(pairs, shareable, strict=True)]
    in_one_row = [index for index, pair in enumerate(pairs) if prefixes[index] and saves(pair, prefixes[index])]
    apart = sorted(set(range(len(pairs))) - set(in_one_row))
    fixed_cost = FIXED_COST.get(device.type, FIXED_COST["cuda"])
    lengths = [len(pair.a) + len(pair.b) - prefix for pair, prefix in zip(pairs, prefixes, strict=True)]
    made = [_shared(pairs, group, prefixes, pad, device)
            for group in grouped(in_one_row, lengths, most_tokens, fixed_cost)]
    widths = [2 * max(len(pair.a), len(pair.b)) for pair in pairs]
    return made + [_apart(pairs, group, pad, device) for group in grouped(apart, widths, most_tokens, fixed_cost)]


def grouped(indices: Sequence[int], lengths: Sequence[int], most_tokens: int, fixed_cost: int) -> list[list[int]]:
    """The cheapest cut of the rows into passes, shortest first: a pass costs rows times its longest, and a fixed cost.

    >>> grouped([0, 1, 2, 3], [9, 100, 8, 101], most_tokens=1000, fixed_cost=50)
    [[2, 0], [1, 3]]
    >>> grouped([0, 1, 2, 3], [9, 100, 8, 101], most_tokens=1000, fixed_cost=1000)
    [[2, 0, 1, 3]]
    """
    order = sorted(indices, key=lambda index: lengths[index])
    # Rows of one length stay together: a cut is worth trying only where the length changes.
    starts = [at for at in range(len(order)) if at == 0 or lengths[order[at]] != lengths[order[at - 1]]]
    edges = [*starts, len(order)]
    cheapest: list[tuple[int, int]] = [(0, 0)]  # by edge: cost of all rows before it, and where its group begins
    for end in range(1, len(edges)):
        longest = lengths[order[edges[end] - 1]]
        cheapest.append(min((cheapest[start][0] + _cost(edges[end] - edges[start], longest, most_tokens, fixed_cost),
                             start) for start in range(end)))
    groups: list[list[int]] = []
    end = len(edges) - 1
    while end > 0:
        start = cheapest[end][1]
        rows = order[edges[start]:edges[end]]
        passes = _passes(len(rows), lengths[rows[-1]], most_tokens)
        groups.extend(rows[len(rows) * k // passes:len(rows) * (k + 1) // passes] for k in reversed(range(passes)))
        end = start
    return groups[::-1]


def attention_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores, [rows, 1, tokens, tokens]: a token sees the prompt and what is before it in
    its own response."""
    tokens = torch.arange(segments.shape[1], device=segments.device)
    own = segments.unsqueeze(2) == segments.unsqueeze(1)
    sees = (own | (segments == _PROMPT).unsqueeze(1)) & (tokens.unsqueeze(1) >= tokens)
    # The lowest number of bf16, which fp32 has too: a pass in either is finite.
    blocked = torch.full((), torch.finfo(torch.bfloat16).min, dtype=dtype, device=segments.device)
    return torch.where(sees, torch.zeros((), dtype=dtype, device=segments.device), blocked).unsqueeze(1)


def _cost(rows: int, longest: int, most_tokens: int, fixed_cost: int) -> int:
    return rows * longest + fixed_cost * _passes(rows, longest, most_tokens)


def _passes(rows: int, longest: int, most_tokens: int) -> int:
    return -(-rows // max(1, most_tokens // longest))


def _shared(pairs: Sequence[TokenPair], group: list[int], prefixes: Sequence[int], pad: int,
            device: torch.device) -> PairBatch:
    """A row per pair."""
    rows = []
    for index in group:
        (a, b), prefix = pairs[index], prefixes[index]
        rows.append(([*a, *b[prefix:]], [*range(len(a)), *range(prefix, len(b))],
                     [_PROMPT] * prefix + [_A] * (len(a) - prefix) + [_B] * (len(b) - prefix)))
    width = max(len(ids) for ids, _, _ in rows)
    ids, positions, segments = (
        torch.tensor([[*row[column], *[filler] * (width - len(row[column]))] for row in rows]).to(device)
        for column, filler in enumerate((pad, 0, _PADDING)))
    ends = [at for row, index in enumerate(group) for at in (row * width + len(pairs[index].a) - 1,
                                                             row * width + len(rows[row][0]) - 1)]
    return PairBatch(group, ids, segments, positions, (segments != _PADDING).long(), torch.tensor(ends).to(device))


def _apart(pairs: Sequence[TokenPair], group: list[int], pad: int, device: torch.device) -> PairBatch:
    """A row per response."""
    rows = [row for index in group for row in pairs[index]]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    ends = torch.tensor([at * width + len(row) - 1 for at, row in enumerate(rows)])
    return PairBatch(group, ids.to(device), None, None, mask.to(device), ends.to(device))
