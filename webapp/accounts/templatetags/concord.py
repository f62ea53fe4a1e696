"""Template filters and tags for every page: times, numbers, and the bars of labels and rewards."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from training.dialogue import Dialogue, last_user_message
from webapp.accounts.durations import duration

register = template.Library()
register.filter("duration", duration)

_STEPS = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (30 * 86400, 86400, "d"))


@register.filter
def ago(when: datetime | None) -> SafeString | str:
    """'3 min ago', with the exact time on hover."""
    if when is None:
        return ""
    seconds = (timezone.now() - when).total_seconds()
    exact = timezone.localtime(when)
    return format_html('<time datetime="{}" title="{}" class="nowrap">{}</time>', exact.isoformat(),
                       exact.strftime("%Y-%m-%d %H:%M:%S %Z"), _in_words(seconds, exact))


def _in_words(seconds: float, exact: datetime) -> str:
    if seconds < 10:
        return "just now"
    for limit, size, unit in _STEPS:
        if seconds < limit:
            return f"{int(seconds // size)} {unit} ago"
    return exact.strftime("%d %b %Y").lstrip("0")


@register.filter
def moment(when: datetime | None) -> SafeString | str:
    """A point in time with its zone: '4 Dec 2026, 06:22 UTC', to the second on hover."""
    if when is None:
        return ""
    exact = timezone.localtime(when)
    return format_html('<time datetime="{}" title="{}" class="nowrap">{}</time>', exact.isoformat(),
                       exact.strftime("%Y-%m-%d %H:%M:%S %Z"), exact.strftime("%d %b %Y, %H:%M %Z").lstrip("0"))


@register.filter
def percent(share: float | None, digits: int = 0) -> str:
    """0.813 as '81%'."""
    return "" if share is None else f"{100 * share:.{digits}f}%"


@register.filter
def signed(number: float | None, digits: int = 2) -> str:
    """A number that always says its sign, with a true minus."""
    return "" if number is None else f"{number:+.{digits}f}".replace("-", "−")


@register.filter
def gigabytes(count: float | None) -> str:
    """5_240_000_000 bytes as '5.2 GB'."""
    return "" if count is None else f"{count / 1e9:.1f}\u00a0GB"


@register.filter
def thousands(number: int | str | None) -> str:
    """12345 as '12,345'."""
    return "" if number in (None, "") else f"{int(number):,}"


@register.filter
def last_words(prompt: Dialogue) -> str:
    """What the person said last in a dialogue."""
    return last_user_message(prompt)


@register.inclusion_tag("principles/_label_bar.html")
def label_bar(p: float | None, p_shown: float | None = None, p_swapped: float | None = None,
              principle: str = "") -> dict[str, object]:
    """A label as a bar from A (left end) to B (right end): dot at the mean, a tick for each order."""
    if not isinstance(p, int | float):  # none, or nothing of that name in the template
        return {"p": None}
    orders = [f"{100 * (1 - value):.1f}" for value in (p_shown, p_swapped) if value is not None]
    return {"p": p, "principle": principle, "mean": f"{100 * (1 - p):.1f}", "low": f"{min(50.0, 100 * (1 - p)):.1f}",
            "width": f"{abs(100 * (0.5 - p)):.1f}", "orders": orders}


@register.inclusion_tag("principles/_reward_bar.html")
def reward_bar(value: float | None, principle: str = "", limit: float = 3.0) -> dict[str, object]:
    """A signed reward as a bar that grows from the middle; `limit` is the value at the edge."""
    share = 0.0 if value is None else max(-1.0, min(1.0, value / limit))
    return {"value": value, "principle": principle, "start": f"{50 + min(0.0, share) * 50:.1f}",
            "width": f"{abs(share) * 50:.1f}"}


@register.simple_tag(takes_context=True)
def with_page(context: template.Context, number: int) -> str:
    """The address of this page at another page number, filters kept."""
    query: Any = context["request"].GET.copy()
    query["page"] = number
    return f"?{query.urlencode()}"
