"""Saved judges to test with."""

from __future__ import annotations

import pytest

from webapp.accounts.models import Team, User
from webapp.judges.models import Connection
from webapp.judges.services import connection_create

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def judge(team: Team, owner: User) -> Connection:
    """A judge on a server, with a key."""
    return connection_create(team=team, user=owner, key=KEY, name="Our vLLM", kind="server", model="judge-7b",
                             base_url="http://127.0.0.1:9/v1")
