"""The real stack and a real Chromium, once for all end-to-end tests.

By default on SQLite and the embedded Valkey; where CONCORD_DATABASE_URL names PostgreSQL, on a new database there and
on the Redis server that CONCORD_REDIS_URL names.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import servers
from tests.processes import ROOT, free_port
from tests.stack import DEMO_PASSWORD, DEMO_USER, Stack, Visitor, stack, wait_until

CHROMIUM = os.environ.get("CONCORD_TEST_CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# The demo preset, as small as it can be and still go through every stage. `__` stands for the dot of a field's name.
SMALL = {
    "data__limit": "200", "data__held_out": "20", "principle": ["factuality", "conciseness"], "sample__count": "40",
    "judge__max_pairs": "40", "preference_model__epochs": "1", "ppo__steps": "12", "ppo__batch_size": "16",
    "ppo__epochs": "1", "ppo__sample_every": "4", "ppo__checkpoint_every": "4", "evaluate__prompts": "12",
}
HH_FILE = ROOT.parent / "shared" / "data" / "hh_harmless_1500.jsonl.gz"


@pytest.fixture(scope="package")
def server_settings() -> Iterator[dict[str, str]]:
    """Nothing for the embedded default; else the addresses of a new database and of an emptied Redis database."""
    if not servers.on_postgres():
        yield {}
        return
    given = os.environ["CONCORD_DATABASE_URL"]
    name = f"concord_e2e_{free_port()}"
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    redis_url = os.environ.get("CONCORD_E2E_REDIS_URL", "redis://127.0.0.1:6379/7")
    redis.Redis.from_url(redis_url).flushdb()
    yield {"CONCORD_DATABASE_URL": given.rsplit("/", 1)[0] + f"/{name}", "CONCORD_REDIS_URL": redis_url}
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="package")
def concord(server_settings: dict[str, str]) -> Iterator[Stack]:
    # One thread a stage: the browser, the web and the workers want the other core.
    with stack(server_settings | {"OMP_NUM_THREADS": "1"}) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        servers.refuse(f"no Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def session(concord: Stack) -> list[dict[str, str]]:
    """The cookies of the demo user, logged in once."""
    cookies = Visitor(concord.url).login().cookies()
    return [{"name": name, "value": value, "url": concord.url} for name, value in cookies.items()]


@pytest.fixture
def visitor(concord: Stack) -> Visitor:
    """The demo user without a browser, for setting the scene and for reading what a page shows."""
    return Visitor(concord.url).login()


@pytest.fixture
def page(browser: Browser, concord: Stack, session: list[dict[str, str]]) -> Iterator[Page]:
    """A page of the demo user, logged in."""
    context = new_context(browser, concord)
    context.add_cookies(session)
    yield context.new_page()
    context.close()


@pytest.fixture
def anonymous_page(browser: Browser, concord: Stack) -> Iterator[Page]:
    context = new_context(browser, concord)
    yield context.new_page()
    context.close()


def new_context(
        browser: Browser, concord: Stack, width: int = 1440, height: int = 900, **options: str) -> BrowserContext:
    context = browser.new_context(base_url=concord.url, viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(20_000)
    return context


def log_in(page: Page) -> None:
    page.goto("/login/")
    page.get_by_label("Name").fill(DEMO_USER)
    page.get_by_label("Password").fill(DEMO_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/runs/")


@pytest.fixture(scope="package")
def finished_run(concord: Stack) -> int:
    """The number of a small run that is done, for everything that needs one."""
    visitor = Visitor(concord.url).login()
    run = visitor.start_run("demo", **SMALL, name="A small run")
    wait_until("the end of the small run", lambda: visitor.status(run) != "running", 400)
    assert visitor.status(run) == "done", visitor.get(f"/runs/{run}/state/").text
    return run


@pytest.fixture(scope="session")
def hh_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 200 rows of the real preference data, as a plain JSONL file."""
    if not HH_FILE.exists():
        servers.refuse(f"{HH_FILE.name} is not beside the repository")
    target = tmp_path_factory.mktemp("hh") / "hh_harmless_200.jsonl"
    with gzip.open(HH_FILE, "rt", encoding="utf-8") as source, target.open("w", encoding="utf-8") as out:
        out.writelines(line for line, _ in zip(source, range(200), strict=False))
    return target
