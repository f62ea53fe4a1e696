"""Which judge a label belongs to: the name under which it is stored, and how pages show it. Torch-free.

A judge on a server is its model at its address. Servers answer to any model's name ("local-model", "gpt-3.5-turbo"), so
the model alone would take the labels of one for those of another. The key, the pace and the price are no part of it.
Labels bought before addresses were part of the name carry the model alone (`is_unplaced`).
"""

from __future__ import annotations

import hashlib
import re

from training.config import JudgeSettings
from training.config.address import server_url
from training.measures import version_of

LONGEST = 300  # characters of a name, as the database holds it
_PLACED = re.compile(r"openai:(.*)@(https?)://([^/]*)(.*)", re.DOTALL)
_SHORTENED = re.compile(r"openai:(.*)@([^/]*)#[0-9a-f]{16}", re.DOTALL)


def judge_name(settings: JudgeSettings) -> str:
    """What a label names as its judge.

    >>> judge_name(JudgeSettings(kind="openai", model="gpt-4o-mini"))
    'openai:gpt-4o-mini@https://api.openai.com/v1'
    """
    if settings.kind == "rule":
        return "rule"
    if settings.measure is not None:
        named = settings.measure.model_dump_json() + version_of(settings.measure)
        return f"measure:{settings.measure.kind}#{hashlib.sha256(named.encode()).hexdigest()[:16]}"
    if settings.kind == "local":
        return f"local:{settings.model}"
    name = f"openai:{settings.model}@{server_url(settings.base_url)}"
    if len(name) <= LONGEST:
        return name
    host = server_url(settings.base_url).partition("://")[2].partition("/")[0]
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"openai:{settings.model[:150]}@{host[:100]}#{digest}"


def unplaced_name(settings: JudgeSettings) -> str:
    """The name that labels of this judge's model had before addresses were part of it; "" for judges without one."""
    return f"openai:{settings.model}" if settings.kind == "openai" else ""


def is_unplaced(name: str) -> bool:
    """Whether a label's judge is a model at a server that was not recorded."""
    return name.startswith("openai:") and not (_PLACED.fullmatch(name) or _SHORTENED.fullmatch(name))


def judge_title(name: str) -> str:
    """A label's judge for people: the model, and the host where it was asked.

    >>> judge_title("openai:gpt-4o-mini@https://api.openai.com/v1"), judge_title("local:qwen"), judge_title("rule")
    ('gpt-4o-mini at api.openai.com', 'qwen on the workers’ machine', 'rule')
    """
    kind, separator, model = name.partition(":")
    if kind == "measure":
        return f"measure of {model.partition('#')[0].replace('_', ' ')}"
    if not separator or kind not in {"openai", "local"}:
        return name
    if kind == "local":
        return f"{model} on the workers’ machine"
    if placed := _PLACED.fullmatch(name):
        model, scheme, host, path = placed.groups()
        where = host + path.removesuffix("/v1")
        return f"{model} at {where if scheme == 'https' or ':' in host else f'http://{where}'}"
    if shortened := _SHORTENED.fullmatch(name):
        return f"{shortened[1]} at {shortened[2]}"
    return f"{model} at an unknown server"
