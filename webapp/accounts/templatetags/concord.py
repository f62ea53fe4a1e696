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
def points(share: float | None) -> str:
    """A difference of two shares in percentage points: 0.2134 as '+21', −0.004 as '−0.4'."""
    if share is None:
        return ""
    return signed(100 * share, 0 if abs(share) >= 0.00995 or share == 0 else 1)


@register.filter
def figures(number: float | None) -> str:
    """A measured number in three or four figures: 12,345; 0.0123; −3.5; 12."""
    if number is None:
        return ""
    text = f"{number:,.0f}" if float(number).is_integer() and abs(number) < 1e12 or 1e3 <= abs(number) < 1e12 \
        else f"{number:.4g}"
    return text.replace("-", "−")


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
              principle: str = "", person: float | None = None) -> dict[str, object]:
    """A label as a bar from A (left end) to B (right end): dot at the judge's mean, a tick for each order, a diamond
    where a person decided otherwise."""
    judge, decided = (value if isinstance(value, int | float) else None for value in (p, person))
    words = [] if decided is None else [f"a person: {_winner(decided)}"]
    bar: dict[str, object] = {"principle": principle, "words": words, "winner": judge if decided is None else decided}
    if decided is not None:
        bar["person"] = f"{100 * (1 - decided):.1f}"
    if judge is not None:  # else none, or nothing of that name in the template
        words.append(f"{'the judge: ' if words else ''}{_winner(judge)}")
        bar |= {"mean": f"{100 * (1 - judge):.1f}", "low": f"{min(50.0, 100 * (1 - judge)):.1f}",
                "width": f"{abs(100 * (0.5 - judge)):.1f}",
                "orders": [f"{100 * (1 - value):.1f}" for value in (p_shown, p_swapped) if value is not None]}
    return bar


def _winner(p: float) -> str:
    """'B better with probability 0.80'."""
    if p == 0.5:
        return "undecided"
    return f"{'A' if p > 0.5 else 'B'} better" + ("" if p in (0, 1) else f" with probability {max(p, 1 - p):.2f}")


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
