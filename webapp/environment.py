"""Typed readers of environment variables that fail loudly with the variable's name. Only settings.py reads them.

An empty or blank variable counts as not set: `NAME=${NAME:-}` in a compose file produces one. A variable whose name is
close to that of a setting is refused, because a misspelt setting would otherwise be ignored silently.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches

from django.core.exceptions import ImproperlyConfigured

PREFIX = "CONCORD_"
_FREE = re.compile(r"JUDGE[A-Z0-9_]*_KEY|(?:TEST|E2E)_.*")  # the rest of the names of judges' keys and tests' variables
_known: set[str] = set()  # what the readers below were asked for, without the prefix


def _value(name: str) -> str:
    _known.add(name.removeprefix(PREFIX))
    value = os.environ.get(name, "")
    return value if value.strip() else ""


def refuse_misspelt() -> None:
    """Raise if a variable looks like a misspelt setting. Call it after all settings are read.

    Raises:
        ImproperlyConfigured: a variable is named nearly as a setting is, or in small letters.
    """
    for name in os.environ:
        if not name.strip().upper().startswith(PREFIX) or name.removeprefix(PREFIX) in _known:
            continue
        rest = name.strip().upper().removeprefix(PREFIX)
        parts = [setting for setting in sorted(_known) if (len(rest) > 2 and setting.startswith(rest))
                 or (rest.startswith(setting) and not rest[len(setting):].startswith("_"))]
        near = parts or get_close_matches(rest, sorted(_known), 1, cutoff=0.75)
        if near and not (_FREE.fullmatch(rest) and name.startswith(PREFIX)):
            raise ImproperlyConfigured(f"{name} is not a setting: Concord takes {PREFIX}{near[0]}. Correct the name, "
                                       "or "
                                       "remove the variable.")


def text(name: str, default: str | None = None) -> str:
    value = _value(name) or default
    if value is None:
        raise ImproperlyConfigured(f"Set the environment variable {name}.")
    return value


def flag(name: str, default: bool) -> bool:
    value = _value(name).lower()
    if value in {"", "1", "0", "true", "false", "yes", "no"}:
        return value in {"1", "true", "yes"} if value else default
    raise ImproperlyConfigured(f"{name} is {value!r}; it takes 1 or 0.")


def number(name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`."""
    value = _value(name).strip()
    if not value:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) < 20 and 1 <= int(value) <= most):
        raise ImproperlyConfigured(f"{name} is {value[:40]!r}; it takes a whole number from 1 to {most:,}.")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    _known.add(name.removeprefix(PREFIX))
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def choice(name: str, options: Sequence[str]) -> str:
    """One of the options; the first where the variable is not set."""
    value = _value(name) or options[0]
    if value not in options:
        raise ImproperlyConfigured(f"{name} is {value!r}; it takes {' or '.join(options)}.")
    return value


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Addresses and networks, comma-separated, such as `10.0.0.7, 172.16.0.0/12`."""
    try:
        return [ipaddress.ip_network(word) for word in words(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} takes addresses and networks such as 10.0.0.7 or 172.16.0.0/12: {error}."
                                   ) from error


def lists(name: str) -> dict[str, list[str]]:
    """{"A": ["x", "y"]} from "A=x y" or "A=x, A=y"."""
    by_key: dict[str, list[str]] = {}
    for word in words(name):
        key, separator, values = word.partition("=")
        if not separator or not key.strip() or not values.split():
            raise ImproperlyConfigured(f"{name} holds {word!r}; it takes VARIABLE=host, VARIABLE=host ...")
        by_key.setdefault(key.strip(), []).extend(values.split())
    return by_key
