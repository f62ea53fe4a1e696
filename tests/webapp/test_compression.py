"""Pages travel compressed; what is compressed already, or is gigabytes of weights, does not go through it again."""

from __future__ import annotations

import gzip

import pytest
from django.test import Client

from tests.webapp.runs.seeds import fill, make_run
from webapp.accounts.models import Team, User

pytestmark = pytest.mark.django_db
GZIP = {"HTTP_ACCEPT_ENCODING": "gzip"}


def test_a_page_is_a_fraction_of_its_size(owner_client: Client) -> None:
    plain = owner_client.get("/runs/new/").content
    packed = owner_client.get("/runs/new/", **GZIP)  # type: ignore[arg-type]
    assert packed["Content-Encoding"] == "gzip" and len(packed.content) < len(plain) / 4
    assert b"Nothing makes up for the weakest principle." in gzip.decompress(packed.content)


def test_a_download_of_models_is_sent_as_it_is(owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner, until="")
    fill(stages, 4)
    (stages["ppo"].folder / "adapter").mkdir(parents=True)
    answer = owner_client.get(f"/runs/{run.pk}/downloads/adapter.zip", **GZIP)  # type: ignore[arg-type]
    assert answer.status_code == 200 and answer["Content-Encoding"] == "identity"
