"""A request that sends too much is ended before it is kept: no file on the disk, no memory, and words for a person."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from pytest_django.fixtures import Settings

from tests.conftest import logged_in, make_user
from webapp import body_limit
from webapp.datasets.models import Dataset

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
MEGABYTE = b"x" * 1024 * 1024


@pytest.fixture(autouse=True)
def small_limits(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.UPLOAD_LIMIT_BYTES = 8 * 1024 * 1024
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def stored(folder: Path) -> list[Path]:
    """What was written to the disk (the playground makes an empty folder of its own)."""
    return [path for path in folder.rglob("*") if path.is_file()]


class Body:
    """A body that is sent a megabyte at a time and counts what was taken of it."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes, self.taken = megabytes, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.megabytes):
            self.taken += 1
            yield MEGABYTE


async def send(client: Client | None, path: str, content: Any, method: str = "POST", **headers: str) -> httpx.Response:
    from webapp.asgi import application

    cookies = {name: morsel.value for name, morsel in client.cookies.items()} if client else {}
    cookies["csrftoken"] = headers["x-csrftoken"] = "c" * 32
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", cookies=cookies) as http:
        return await http.request(method, path, content=content, headers=headers)


@pytest.mark.parametrize("path", ["/login/", "/datasets/new/", "/nothing-here/", "/runs/new/", "/theme/"])
async def test_a_length_that_is_too_large_is_refused_before_anything_is_read(path: str, tmp_path: Path) -> None:
    body = Body(600)
    answer = await send(None, path, body, **{"content-length": str(600 * 1024**2)})
    assert answer.status_code == 413 and "The limit here is 3 MB" in answer.text
    assert body.taken <= 1 and not stored(tmp_path)


async def test_a_body_without_a_length_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    body = Body(600)
    answer = await send(None, "/login/", body)
    assert answer.status_code == 413
    assert body.taken <= 5 and not stored(tmp_path)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.parametrize("path", ["/login/", "/datasets/new/", "/static/app.css"])
async def test_no_method_has_a_body_without_a_limit(
    owner_client: Client, method: str, path: str, tmp_path: Path,
) -> None:
    body = Body(600)
    answer = await send(owner_client, path, body, method)
    assert answer.status_code == 413
    assert body.taken <= 5 and not stored(tmp_path)


async def test_a_length_that_lies_is_cut_off_at_the_limit() -> None:
    body = Body(600)
    assert (await send(None, "/login/", body, **{"content-length": "17"})).status_code == 413
    assert body.taken <= 5


@pytest.mark.parametrize("length", ["-1", "9" * 5000, "0x10", "1e9"])
async def test_a_length_that_is_none_is_refused(length: str) -> None:
    assert (await send(None, "/login/", Body(1), **{"content-length": length})).status_code == 413


async def test_a_member_uploads_what_the_limit_allows_and_no_more(owner_client: Client) -> None:
    def form(rows: int) -> tuple[bytes, str]:
        line = b'{"prompt": "' + b"p" * 1000 + b'", "chosen": "a", "rejected": "b"}\n'
        head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        return head + line * rows + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"

    content, kind = form(7000)  # 7.3 MB
    assert (await send(owner_client, "/datasets/new/", content, **{"content-type": kind})).status_code == 302
    assert await Dataset.objects.acount() == 1
    content, kind = form(9000)  # 9.4 MB
    refused = await send(owner_client, "/datasets/new/", content, **{"content-type": kind})
    assert refused.status_code == 413 and "The limit here is 8 MB" in refused.text
    assert (await send(owner_client, "/runs/new/", content, **{"content-type": kind})).status_code == 413


async def test_who_is_in_no_team_uploads_nothing() -> None:
    loner = await sync_to_async(lambda: logged_in(make_user("loner")))()
    assert (await send(loner, "/datasets/new/", MEGABYTE * 4)).status_code == 413


async def test_a_small_form_passes(owner_client: Client) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert (await send(None, "/login/", b"username=nobody&password=x", **kind)).status_code == 200
    assert body_limit.SMALL > 2.5 * 1024**2, "Django's own words for a large form come first"
