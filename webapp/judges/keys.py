"""Chooses the API key for a judge: one that the team saved, or one from this process's environment.

A saved key is handed to a stage's process through its environment only, and only for the address it was saved for. A
key of the environment is the administrator's: it goes to OpenAI (OPENAI_API_KEY) or to the hosts that
CONCORD_JUDGE_KEY_HOSTS lists for its variable. So a user who may start runs cannot have it sent to their own server.
"""

from __future__ import annotations

import re

from django.conf import settings

from training import config
from training.config.address import OPENAI, BadAddress, normal_host, parse_address
from training.errors import BadSettings
from training.judges.addresses import LOOPBACK
from webapp import environment
from webapp.accounts.models import Team
from webapp.judges.models import Connection
from webapp.judges.sealing import UnsealError, unseal

_SAVED = re.compile(r"CONCORD_JUDGE_SAVED_([1-9][0-9]{0,17})_KEY")


def saved_number(variable: str) -> int | None:
    """The primary key of the connection that `api_key_env` names, or None if it names an environment variable."""
    match = _SAVED.fullmatch(variable)
    return int(match[1]) if match else None


def saved_key(*, team: Team, judge: config.JudgeSettings) -> str:
    """The saved key that the judge's `api_key_env` names; "" if it names none.

    Raises:
        BadSettings: the connection is gone, is for another address, or its key cannot be opened.
    """
    number = saved_number(judge.api_key_env)
    if number is None:
        return ""
    connection = Connection.objects.of(team).filter(pk=number).first()
    if connection is None or not connection.sealed_key:
        raise BadSettings(f"The saved judge that '{judge.api_key_env}' refers to does not exist or has no key.",
                          "Choose another judge, or save this one again under Judges.")
    if connection.base_url != judge.base_url:
        raise BadSettings(f"The key of the judge '{connection.name}' belongs to another address, not to "
                          f"'{judge.base_url}'.",
                          "Choose the saved judge again, so that its own address is used.")
    try:
        return unseal(connection.sealed_key, connection.key_context)
    except UnsealError:
        raise BadSettings(f"The key of the judge '{connection.name}' cannot be decrypted: the site's own key has "
                          "changed.",
                          "Enter the judge's key again under Judges.") from None


def check_key_host(judge: config.JudgeSettings) -> None:
    """Check that the variable named in a recipe may be sent to its judge's host. It need not be set.

    Raises:
        BadSettings: the administrator has not listed the host for the variable.
    """
    variable = judge.api_key_env
    if judge.kind != "openai" or not variable or saved_number(variable) is not None or variable.startswith("OPENAI"):
        return  # a saved key is bound to its address, and the recipe's types restrict OpenAI's keys to OpenAI
    try:
        address = parse_address(judge.base_url or OPENAI)
    except BadAddress as error:
        raise BadSettings(f"'judge.base_url' cannot be used: {error}.", "Correct the judge's address.") from None
    hosts = {normal_host(host) for host in settings.JUDGE_KEY_HOSTS.get(variable, [])}
    if settings.JUDGE_KEYS_TO_LOOPBACK:
        hosts |= set(LOOPBACK)
    if address.host not in hosts:
        raise BadSettings(
            f"The key in {variable} may not be sent to the host '{address.host}'.",
            f"Save the judge with its key under Judges, or ask the administrator to add {variable}={address.host} to "
            "CONCORD_JUDGE_KEY_HOSTS.")


def key_of(*, team: Team, judge: config.JudgeSettings) -> str:
    """The key with which this process calls the judge; "" if it needs none.

    Raises:
        BadSettings: the recipe names a key that is not available.
    """
    if not judge.api_key_env:
        return ""
    if key := saved_key(team=team, judge=judge):
        return key
    check_key_host(judge)
    if key := environment.text(judge.api_key_env, ""):
        return key
    raise BadSettings(f"The variable {judge.api_key_env} is not set on the web server.",
                      "Set it, or leave the field empty if the server needs no key.")
