"""Pages travel compressed; streams do not: their chunks would be gzip files of their own, of which one is read."""

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


@pytest.mark.parametrize("part", ["downloads/adapter.zip", "downloads/labels.jsonl", "metrics.csv"])
def test_a_stream_is_sent_as_it_is(part: str, owner_client: Client, team: Team, owner: User) -> None:
    run, stages = make_run(team, owner, until="")
    fill(stages, 4)
    (stages["ppo"].folder / "adapter").mkdir(parents=True)
    answer = owner_client.get(f"/runs/{run.pk}/{part}", **GZIP)  # type: ignore[arg-type]
    assert answer.status_code == 200 and answer.streaming and not answer.has_header("Content-Encoding")
