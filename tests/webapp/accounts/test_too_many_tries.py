"""Who guesses passwords is stopped, and told what to do."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse


@pytest.mark.django_db
def test_after_too_many_wrong_passwords_the_page_says_to_wait(owner):
    client, address = Client(), reverse("login")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        answer = client.post(address, {"username": owner.username, "password": "wrong"})
    assert answer.status_code == 429
    assert "Wait a quarter of an hour" in answer.content.decode()
