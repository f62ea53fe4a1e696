"""List prices of common models, for estimates. A connection's own price overrides them.

Dollars per million input and output tokens, as published by their makers in 2025; prices change.
Left out: discounts for cached input and for batches.
"""

from __future__ import annotations

from webapp.labels.prices import Price

LIST_PRICES = {
    "gpt-3.5-turbo": Price(0.50, 1.50),
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4o-mini": Price(0.15, 0.60),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
    "gpt-5": Price(1.25, 10.00),
    "gpt-5-mini": Price(0.25, 2.00),
    "gpt-5-nano": Price(0.05, 0.40),
    "o4-mini": Price(1.10, 4.40),
}
FREE = Price(0.0, 0.0)


def list_price(model: str) -> Price | None:
    """The price of a model by its name; a dated name ("gpt-4o-2024-08-06") counts as its family's."""
    name = model.rpartition("/")[2]
    families = [family for family in LIST_PRICES if name == family or name.startswith(f"{family}-20")]
    return LIST_PRICES[families[0]] if families else None
