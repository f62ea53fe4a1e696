"""Changes to saved judges: create, edit, test, delete. These functions accept a key and never return one."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import Team, User
from webapp.judges import testing
from webapp.judges.identity import say_same_judge
from webapp.judges.models import Connection
from webapp.judges.sealing import UnsealError, reseal, seal

_FIELDS = ("name", "kind", "base_url", "model", "reasoning", "logprobs", "price_in", "price_out", "concurrency",
           "requests_per_minute", "tokens_per_minute")
_MATTERS = ("kind", "base_url", "model", "reasoning", "logprobs")  # what a test was about


@transaction.atomic
def connection_create(*, team: Team, user: User, key: str = "", **fields: Any) -> Connection:
    connection = Connection.objects.create(team=team, created_by=user, **_stored_fields(fields))
    _keep_key(connection, key)
    return connection


@transaction.atomic
def connection_edit(*, connection: Connection, key: str = "", forget_key: bool = False, same_judge: bool = False,
                    **fields: Any) -> Connection:
    """Edit a connection. Its key stays unless a new key is given, it is to be deleted, or the address changes.

    Args:
        same_judge: the address changes but the judge does not: labels bought at both addresses belong to it.
    """
    locked = Connection.objects.select_for_update().get(pk=connection.pk)
    before = {name: getattr(locked, name) for name in _MATTERS}
    name_before = locked.label_name
    for name, value in _stored_fields(fields).items():
        setattr(locked, name, value)
    if any(getattr(locked, name) != value for name, value in before.items()) or key or forget_key:
        locked.report, locked.tested_at = {}, None
    if forget_key or locked.base_url != before["base_url"]:
        locked.sealed_key = ""
    locked.save()
    _keep_key(locked, key)
    if same_judge:
        say_same_judge(team=locked.team, names=(name_before, locked.label_name))
    return locked


def connection_delete(*, connection: Connection) -> None:
    """Delete a judge and its key. Labels and runs stay; a run that still needs the key will fail with a message."""
    connection.delete()


def connection_test(*, connection: Connection) -> dict[str, Any]:
    """Test the judge now, and store the report unless the connection was changed meanwhile."""
    report = testing.report_on(connection)
    same = {name: getattr(connection, name) for name in (*_MATTERS, "sealed_key")}
    Connection.objects.filter(pk=connection.pk, **same).update(report=report, tested_at=timezone.now())
    return report


@transaction.atomic
def keys_reseal() -> tuple[int, int]:
    """Encrypt every key again with the newest field key. Returns how many were, and how many nobody can decrypt."""
    done, lost = 0, 0
    for connection in Connection.objects.select_for_update().exclude(sealed_key=""):
        try:
            connection.sealed_key = reseal(connection.sealed_key)
        except UnsealError:
            lost += 1
            continue
        connection.save(update_fields=["sealed_key"])
        done += 1
    return done, lost


def _stored_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in _FIELDS if name in fields}


def _keep_key(connection: Connection, key: str) -> None:
    if key:
        connection.sealed_key = seal(key, connection.key_context)
        connection.save(update_fields=["sealed_key"])
