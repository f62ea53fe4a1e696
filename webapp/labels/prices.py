"""What labels cost: the price of a judge's tokens, and dollars for a number of them."""

from __future__ import annotations

from typing import NamedTuple


class Price(NamedTuple):
    """Dollars per million tokens."""

    tokens_in: float
    tokens_out: float


def money(tokens: int, answers: int, price: Price) -> float:
    """Dollars for `tokens`, of which one per answer is output: a judge with log-probabilities writes one token."""
    written = min(answers, tokens)
    return ((tokens - written) * price.tokens_in + written * price.tokens_out) / 1e6
