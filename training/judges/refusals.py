"""What a server's refusal means for whoever set up the judge: the same for a run, a batch and the connection test.

The server's own words are part of every message: a status alone has too many meanings. The key is never among them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from training.config import JudgeSettings
from training.errors import JudgeUnavailable
from training.judges.sdk import base_url

_NO_CREDIT = re.compile(r"insufficient[ _](?:quota|balance|credit|funds)|exceeded your current quota|credit balance|"
                        r"out of credit|billing", re.IGNORECASE)


def refusal_of_all(status: int, words: str, settings: JudgeSettings) -> JudgeUnavailable | None:
    """The error of a refusal that every request would get; None if it is transient or concerns one request.

    Args:
        words: what the server says, without the key.
    """
    where, reply = f"The judge's server {base_url(settings)}", f"(HTTP {status}{': ' if words else ''}{words})"
    if status == 402 or status in (400, 403, 429) and _NO_CREDIT.search(words):
        return JudgeUnavailable(f"{where}: the account has no credit left {reply}.", "Add credit, then resume.")
    if status == 401:
        return JudgeUnavailable(f"{where} refused the key {reply}.",
                                "Check the key, or the variable named in 'judge.api_key_env'.")
    if status == 403:
        return JudgeUnavailable(f"{where} refused the key, or what it was asked {reply}.",
                                "Read what it says: the key may lack a right, or the model a feature.")
    if status == 404:
        return JudgeUnavailable(f"{where} knows no model '{settings.model}', or nothing at this address {reply}.",
                                "Check 'judge.model', and that 'judge.base_url' ends in /v1.")
    if 300 <= status < 400:
        return JudgeUnavailable(f"{where} sends its callers elsewhere (HTTP {status}).",
                                "Give the final address in 'judge.base_url'; redirects are not followed.")
    return None


def no_logprobs(settings: JudgeSettings) -> JudgeUnavailable:
    """The error where log-probabilities are required and the server gives none."""
    return JudgeUnavailable(f"The judge '{settings.model}' gives no log-probabilities, and 'judge.logprobs' is 'yes'.",
                            "Set it to 'auto': several answers are then sampled and counted instead.")


def wait_in_words(seconds: float, now: float) -> str:
    """A long wait with its end: "until 2026-03-01 14:05 UTC (55 h)"."""
    hours, minutes = seconds / 3600, seconds / 60
    length = f"{hours / 24:.0f} days" if hours >= 72 else f"{hours:.0f} h" if hours >= 2 else f"{minutes:.0f} min"
    end = datetime.fromtimestamp(min(now + seconds, 32503680000.0), UTC)  # the year 3000
    return f"until {end:%Y-%m-%d %H:%M} UTC ({length})"
