"""Tests a connection with one short question to the judge and reports the result in plain words."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from pydantic import ValidationError

from training import config
from training.config import field_errors
from training.errors import TrainingError
from training.judges.addresses import AddressGuard
from training.judges.connection_test import ConnectionReport, test_connection
from webapp.judges.keys import key_of
from webapp.judges.models import Connection

PATIENCE = 20.0  # seconds
PATIENCE_WITH_THOUGHT = 60.0  # for a judge that is said to think before its letter

_THINKS = "yes, before it answers"
_THINKS_UNTOLD = "yes, though this is not set: edit the judge and tick “It thinks before it answers”"


def guard() -> AddressGuard:
    """The addresses that a judge may have: public ones, and those that the administrator listed."""
    return AddressGuard(tuple(settings.JUDGE_ALLOWED_HOSTS))


def report_on(connection: Connection) -> dict[str, Any]:
    """Run the test. Returns {works, reason, facts: [[name, words]]}; a failure is its `reason`, never an exception."""
    try:
        judge = connection.settings()
        key = key_of(team=connection.team, judge=judge)
    except ValidationError as error:
        return _as_dict(ConnectionReport(False, "; ".join(message for _, message in field_errors(error))))
    except TrainingError as problem:
        return _as_dict(ConnectionReport(False, str(problem)))
    if judge.kind == "rule":
        return {"works": True, "reason": "", "facts": [["Answers", "by rule, at once, free of charge"]]}
    if judge.kind == "local":
        return {"works": True, "reason": "", "facts": [["Answers", "on the workers’ machine; it is loaded when a run "
                                                                   "asks it, so it was not asked now"]]}
    try:
        return _as_dict(async_to_sync(_ask)(judge, key), judge)
    except TimeoutError:
        return _as_dict(ConnectionReport(False, (
            f"The judge did not answer within {_patience(judge):.0f} seconds. Check the address, and that the server "
            "runs. If the judge thinks first, tick “It thinks before it answers”: it then gets more time.")))
    finally:
        del key  # an error page shows local variables where a site is debugged


async def _ask(judge: config.JudgeSettings, key: str) -> ConnectionReport:
    async with asyncio.timeout(_patience(judge)):
        return await test_connection(judge, key, guard())


def _patience(judge: config.JudgeSettings) -> float:
    return PATIENCE_WITH_THOUGHT if judge.reasoning else PATIENCE


def _as_dict(report: ConnectionReport, judge: config.JudgeSettings | None = None) -> dict[str, Any]:
    facts: list[list[str]] = []
    if report.works:
        facts = [
            ["Answered by", report.model or "a model that did not give its name"],
            ["Answered in", f"{1000 * report.latency:.0f} ms"],
            ["Log-probabilities", f"yes, of the {report.top_logprobs} likeliest tokens: one call per order"
             if report.logprobs else "no: several answers are sampled for each order and counted"],
            *([["Thinks", _THINKS if judge and judge.reasoning else _THINKS_UNTOLD]] if report.thinks else []),
            ["Limits seen", _limits(report)],
            ["Tokens", f"{report.tokens_in} in, {report.tokens_out} out" if report.tokens_in else "not reported"],
        ]
    return {"works": report.works, "reason": report.reason, "facts": facts, "logprobs": report.logprobs}


def _limits(report: ConnectionReport) -> str:
    limits = report.limits
    if limits is None:
        return "none reported"
    parts = [f"{value:,} {name} per minute" for value, name in
             ((limits.limit_requests, "requests"), (limits.limit_tokens, "tokens")) if value is not None]
    return ", ".join(parts) or "none reported"
