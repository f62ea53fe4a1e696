"""Template filters for costs: money, and ranges of tokens, money and time, in few digits."""

from __future__ import annotations

from collections.abc import Callable

from django import template

from training.judges.estimate import Range
from webapp.accounts.durations import duration
from webapp.accounts.templatetags.concord import thousands

register = template.Library()


@register.filter
def dollars(amount: float | None) -> str:
    """0.0034 as '$0.0034', 12.345 as '$12.35', 1234.5 as '$1,235': two figures at least."""
    if not isinstance(amount, int | float):  # none, or nothing of that name in the template
        return ""
    if amount >= 1000:
        return f"${thousands(round(amount))}"
    if amount >= 1 or amount == 0:
        return f"${amount:.2f}"
    return f"${amount:.2g}" if amount >= 0.0001 else f"${amount:.6f}"


@register.filter
def span_of_money(span: Range) -> str:
    return _span(span, dollars)


@register.filter
def span_of_tokens(span: Range) -> str:
    return _span(span, tokens)


@register.filter
def span_of_time(span: Range) -> str:
    return _span(span, duration)


@register.filter
def tokens(count: float) -> str:
    """12 345 678 as '12.3 M', 9 876 as '9.9 k'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f}"


def _span(span: Range, show: Callable[[float], str]) -> str:
    """The likely value with its bounds, or alone if the rounded bounds are equal."""
    low, likely, high = (show(value) for value in span)
    return likely if low == high else f"{likely} ({low} to {high})"
