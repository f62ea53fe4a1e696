"""Testing a connection: within seconds it says what works, and in plain words what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from tests.judge_server import JudgeServer, judge_server
from tests.training.judge_moods import MOODS
from tests.training.scripted_server import serving
from tests.webapp.judges.conftest import KEY
from webapp.accounts.models import Team, User
from webapp.judges import services, testing
from webapp.judges.models import Connection
from webapp.judges.services import connection_create, connection_edit


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture
def reachable(team: Team, owner: User, server: JudgeServer) -> Connection:
    return connection_create(team=team, user=owner, key=KEY, name="Local", kind="server", model="rule",
                             base_url=server.base_url)


def ask(client: Client, connection: Connection) -> str:
    answer = client.post(reverse("judges:test", args=[connection.pk]), headers={"HX-Request": "true"})
    assert answer.status_code == 200
    connection.refresh_from_db()
    return answer.content.decode()


def test_a_judge_that_works_tells_what_it_gives(
        reachable: Connection, owner_client: Client, server: JudgeServer) -> None:
    page = ask(owner_client, reachable)

    assert "works" in page
    assert "Log-probabilities" in page
    assert reachable.report["works"]
    assert server.keys == {f"Bearer {KEY}"}
    assert KEY not in page
    assert KEY not in str(reachable.report)


def test_a_report_is_not_kept_for_a_judge_that_was_changed_meanwhile(
        reachable: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers_late(connection: Connection) -> dict[str, object]:
        Connection.objects.filter(pk=connection.pk).update(model="another")
        return {"works": True}

    monkeypatch.setattr(services.testing, "report_on", answers_late)
    services.connection_test(connection=reachable)
    reachable.refresh_from_db()
    assert (reachable.model, reachable.report, reachable.tested_at) == ("another", {}, None)


def test_without_javascript_the_page_comes_back_with_the_report(reachable: Connection, owner_client: Client) -> None:
    answer = owner_client.post(reverse("judges:test", args=[reachable.pk]), follow=True)

    assert "Answered by" in answer.content.decode()


def test_a_refused_key_is_said_to_be_refused(
        reachable: Connection, owner_client: Client, server: JudgeServer) -> None:
    server.refuse_with = 401

    page = ask(owner_client, reachable)
    assert "does not work" in page
    assert "refused the key" in page


def test_a_server_that_is_not_there_is_named(judge: Connection, owner_client: Client) -> None:
    assert "cannot be reached" in ask(owner_client, judge)


def test_an_address_that_the_administrator_did_not_list_is_refused(
        reachable: Connection, owner_client: Client, server: JudgeServer, settings: Settings) -> None:
    settings.JUDGE_ALLOWED_HOSTS = []

    assert "CONCORD_JUDGE_ALLOWED_HOSTS" in ask(owner_client, reachable)
    assert not server.questions


def test_a_judge_that_never_answers_is_given_up(
        reachable: Connection, owner_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(testing, "PATIENCE", 0.05)
    monkeypatch.setattr(testing, "test_connection", sleep)

    assert "did not answer" in ask(owner_client, reachable)


def test_a_changed_judge_is_no_longer_said_to_work(reachable: Connection, owner_client: Client) -> None:
    ask(owner_client, reachable)

    connection_edit(connection=reachable, model="another")

    assert "not tested" in owner_client.get(reverse("judges:detail", args=[reachable.pk])).content.decode()


def test_the_rules_of_the_demo_world_work_at_once(team: Team, owner: User, owner_client: Client) -> None:
    rules = connection_create(team=team, user=owner, name="Rules", kind="rule")

    assert "by rule" in ask(owner_client, rules)


@pytest.mark.parametrize("mood", ["one answer a request", "thinks beside the content", "capital letters in a list"])
def test_a_saved_judge_of_any_manner_is_tested_as_a_run_asks_it(
        mood: str, team: Team, owner: User, owner_client: Client) -> None:
    with serving(MOODS[mood][0]) as server:
        saved = connection_create(team=team, user=owner, name="Odd", kind="server", model="m", base_url=server.base_url)
        page = ask(owner_client, saved)
    assert saved.report["works"], saved.report
    assert ("though this is not set" in page) == mood.startswith("thinks")


def test_a_judge_that_thinks_is_saved_as_one_and_asked_to(team: Team, owner_client: Client) -> None:
    with serving(MOODS["thinks in the content"][0]) as server:
        fields = {"name": "Thinker", "kind": "server", "model": "m", "base_url": server.base_url, "concurrency": "4",
                  "requests_per_minute": "0", "tokens_per_minute": "0", "reasoning": "on", "logprobs": "no"}
        assert owner_client.post(reverse("judges:new"), fields).status_code == 302
        saved = Connection.objects.of(team).get()
        assert "yes, before it answers" in ask(owner_client, saved)
        assert all(body["max_tokens"] == 1024 and "logprobs" not in body for body in server.requests)
    assert saved.settings().reasoning and saved.settings().logprobs == "no"


def test_a_judge_that_is_to_give_log_probabilities_and_does_not_is_said_to_fail(
        team: Team, owner: User, owner_client: Client) -> None:
    with serving(MOODS["403 for log-probabilities"][0]) as server:
        saved = connection_create(team=team, user=owner, name="Odd", kind="server", model="m", logprobs="yes",
                                  base_url=server.base_url)
        assert "Requests for logprobs are not allowed" in ask(owner_client, saved)
    assert not saved.report["works"]
