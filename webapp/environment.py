"""Typed readers of environment variables that fail loudly with the variable's name. Only settings.py reads them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    if value is None:
        raise ImproperlyConfigured(f"Set the environment variable {name}.")
    return value


def flag(name: str, default: bool) -> bool:
    value = os.environ.get(name, "").lower()
    if value in {"", "1", "0", "true", "false", "yes", "no"}:
        return value in {"1", "true", "yes"} if value else default
    raise ImproperlyConfigured(f"{name} is {value!r}; it takes 1 or 0.")


def number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    try:
        return int(value) if value else default
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {value!r}; it takes a whole number.") from error


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def choice(name: str, options: Sequence[str]) -> str:
    """One of the options; the first where the variable is not set."""
    value = os.environ.get(name) or options[0]
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
