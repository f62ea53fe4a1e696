"""A browser keeps no page of a member: after a log-out the back button asks the server."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/runs/", "/labels/", "/datasets/", "/team/", "/search/?q=a", "/nothing-here/"])
def test_no_answer_to_a_member_may_be_stored(owner_client: Client, address: str) -> None:
    assert "no-store" in owner_client.get(address)["Cache-Control"]


@pytest.mark.django_db
def test_nor_what_a_stranger_is_told(anonymous_client: Client) -> None:
    for address in ("/runs/", "/login/"):
        assert "no-store" in anonymous_client.get(address)["Cache-Control"]
