"""The fields of a team's runs: which there are, how a person names them, and what values may be written for them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.utils import timezone

from training.errors import BadSettings
from webapp.accounts.models import Team
from webapp.runs.models import RunField

ALIASES = {"kl": "kl/mean", "reward": "reward/total", "lr": "ppo.learning_rate", "length": "response/length",
           "scalarization": "scalarization.function", "algorithm": "ppo.algorithm", "judge": "judge.model",
           "policy": "policy.base", "entropy": "policy/entropy"}
"""Short names of fields that are asked for often."""

OWN = {"name": "Run", "status": "Status", "started": "Started", "by": "By", "tags": "Tags", "note": "Note",
       "seeds": "Repetitions", "sparkline": "Reward", "principles": "Principles"}
"""Fields of a run that are no values of `webapp.runs.run_values`, with their headings."""

HEADINGS = {"win": "Win rate", "kl/mean": "KL", "duration": "Duration", "scalarization.function": "Scalarization",
            "reward/total": "Last reward", "best.reward/total": "Best reward", "settings": "Same settings"}
BEST = "best."
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
MOST_NAMED = 5  # fields that a message lists


class UnknownField(BadSettings):
    """A name that no field of the team's runs has, or several have."""


class Fields:
    """The fields of a team's runs: those of every run, and the names of values, each with its key. A name that has a
    heading of its own is a field even before any run has a value under it."""

    def __init__(self, keys: Mapping[str, int]) -> None:
        self.keys = keys

    @classmethod
    def of(cls, team: Team) -> Fields:
        """One query, whatever the number of runs."""
        return cls(dict(RunField.objects.of(team).values_list("name", "pk")))

    @property
    def names(self) -> list[str]:
        return [*OWN, *sorted({*self.keys, *HEADINGS})]

    @property
    def principles(self) -> list[str]:
        """The principles of any run."""
        names = (name.removeprefix("principles.") for name in self.keys if name.startswith("principles."))
        return sorted({name.removesuffix(".weight") for name in names if name.endswith(".weight")})

    def resolve(self, path: str) -> str:
        """The full name of a field: by itself, by a short name, or by an end of it that no other field has.

        Raises:
            UnknownField: there is none, or there are several.
        """
        asked_path = path.strip()
        for name in (asked_path, ALIASES.get(asked_path, ""), self._best(asked_path)):
            if name in self.keys or name in OWN or name in HEADINGS:
                return name
        lower = {name.lower(): name for name in self.keys}
        if asked_path.lower() in lower:
            return lower[asked_path.lower()]
        ends = [name for name in self.keys if re.search(rf"(^|[./]){re.escape(asked_path.lower())}$", name.lower())
                and name.startswith(BEST) == asked_path.startswith(BEST)]
        if asked_path and len(ends) == 1:
            return ends[0]
        if asked_path and ends:
            raise UnknownField(f"{path!r} is the end of several fields: {_some(sorted(ends))}.", "Write more of it.")
        alike = difflib.get_close_matches(asked_path, [*ALIASES, *self.names], MOST_NAMED, 0.5)
        remedy = f"Did you mean {_some(alike)}?" if alike else "Write one such as ppo.kl.target, win, kl or reward."
        raise UnknownField(f"No run has a field {path[:60]!r}.", remedy)

    def _best(self, path: str) -> str:
        rest = path.removeprefix(BEST)
        return f"{BEST}{ALIASES[rest]}" if path != rest and rest in ALIASES else ""


def heading(name: str) -> str:
    """A field's words over its column."""
    if name in OWN or name in HEADINGS:
        return OWN.get(name) or HEADINGS[name]
    if name.startswith("principles.") and name.endswith(".weight"):
        return f"Weight of {name.removeprefix('principles.').removesuffix('.weight')}"
    return f"Best {name.removeprefix(BEST)}" if name.startswith(BEST) else name


def number(name: str, text: str) -> float:
    """A number as it may be written for a field: 2, 1e-5, 60%, and 90s, 30m, 2h or 1d for a duration.

    Raises:
        ValueError: it is none.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    scale = 1.0
    if plain.endswith("%"):
        plain, scale = plain[:-1], 0.01
    elif name == "duration" and (match := re.fullmatch(r"(.*?\d)\s*(s|m|min|h|d)", plain)):
        plain, scale = match[1], SECONDS[match[2]]
    value = round(float(plain) * scale, 12) if scale == 0.01 else float(plain) * scale
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def moment(text: str) -> datetime:
    """A date or a time, in the site's zone.

    Raises:
        ValueError: it is none.
    """
    when = datetime.fromisoformat(text.strip())
    return when if timezone.is_aware(when) else timezone.make_aware(when)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more
