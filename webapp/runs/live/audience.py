"""Checks who may still watch a run, before anything is sent to open sockets; two queries for all of them.

A socket outlives the request that opened it. So its session is checked again: it must still exist and belong to its
user with the user's current password, and the user must still be in the team, and no
annotator of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from webapp.accounts.models import Membership, Role, User
from webapp.runs.models import Run


class Watcher(NamedTuple):
    """The user of a socket, and the session that it was opened with."""

    user: int
    session: str


def still_allowed(run_id: int, watchers: Iterable[Watcher]) -> set[Watcher]:
    """Those of the watchers who may currently see the run."""
    watchers = set(watchers)
    team = Run.objects.filter(pk=run_id).values("team")
    members = {user.pk: user for user in User.objects.filter(
        pk__in=[watcher.user for watcher in watchers], is_active=True,
        memberships__in=Membership.objects.filter(team__in=team).exclude(role=Role.ANNOTATOR))}
    sessions = dict(Session.objects.filter(
        session_key__in=[watcher.session for watcher in watchers], expire_date__gt=timezone.now(),
    ).values_list("session_key", "session_data"))
    return {watcher for watcher in watchers if watcher.user in members and watcher.session in sessions
            and _belongs_to(members[watcher.user], sessions[watcher.session])}


def _belongs_to(user: User, session_data: str) -> bool:
    pk, digest = _log_in_of(session_data)
    return pk == str(user.pk) and constant_time_compare(digest, user.get_session_auth_hash())


@lru_cache(maxsize=4096)
def _log_in_of(session_data: str) -> tuple[str, str]:
    """The user and password hash in a stored session; cached, because equal session data mean the same log-in."""
    content = SessionStore().decode(session_data)
    return str(content.get(SESSION_KEY, "")), str(content.get(HASH_SESSION_KEY, ""))
