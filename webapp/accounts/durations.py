"""Durations as every page writes them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds as '48 s', '3 min 20 s', '2 h 5 min', '3 d 4 h'; nothing where there are none."""
    if seconds is None:
        return ""
    total = max(0, round(seconds))
    days, hours, minutes, rest = total // 86_400, total % 86_400 // 3600, total % 3600 // 60, total % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    return f"{rest} s"
