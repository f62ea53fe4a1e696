"""A server's rate limits, read from the headers of its replies. Pure functions.

OpenAI and those who follow it send `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; resets are durations
("6m0s", "20ms") or seconds. `Retry-After` is seconds or a date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import NamedTuple

MARK = "x-ratelimit-limit-requests"
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_LONGEST = 64  # characters of a header that are read: no number and no date is longer
_AGAIN_IN = re.compile(
    r"(?:again|retry) ?(?:in|after|delay)[\"':= ]{1,4}((?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:ms|h|m|s)){1,4})",
    re.IGNORECASE)
_LONGEST_WORDS = 1000
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class RateLimits(NamedTuple):
    """The rate limits of one reply; None where the server named none. Resets are seconds from now."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens: float | None = None


def read_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """The limits that a reply's headers name, None if they name none. `headers` must be case-insensitive."""
    if MARK not in headers and "x-ratelimit-limit-tokens" not in headers:
        return None
    def header(what: str) -> str:
        return headers.get(f"x-ratelimit-{what}", "")

    return RateLimits(
        _count(header("limit-requests")), _count(header("remaining-requests")), seconds(header("reset-requests")),
        _count(header("limit-tokens")), _count(header("remaining-tokens")), seconds(header("reset-tokens")))


def seconds(text: str) -> float | None:
    """A duration in seconds.

    >>> seconds("6m0s"), seconds("20ms"), seconds("1.5"), seconds("soon")
    (360.0, 0.02, 1.5, None)
    """
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def retry_after(text: str, now: float) -> float | None:
    """Seconds to wait by a Retry-After header, given the time of day `now`; None if it is empty or unreadable."""
    if not text.strip() or len(text) > _LONGEST:
        return None
    if (duration := seconds(text)) is not None:
        return duration if isfinite(duration) else None
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def wait_named_in(text: str) -> float | None:
    """Seconds to wait by the words of a refusal, for servers that send no header.

    >>> wait_named_in("Rate limit reached. Please try again in 55h4m3s."), wait_named_in("Try again later")
    (198243.0, None)
    """
    named = _AGAIN_IN.search(text[:_LONGEST_WORDS])
    return seconds(named[1].lower()) if named else None


def _count(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST and text.isascii() and text.isdigit() else None
