"""Trying a principle on a pair: the label at once, and every hindrance in plain words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from django.test import Client
from django.urls import reverse

from training.errors import JudgeUnavailable
from training.judges.judge import PairQuestion, Verdict, verdict_from_orders
from webapp.accounts.models import Team
from webapp.judges import trial
from webapp.labels.models import Pair, PairText
from webapp.principles.models import Principle

RULE = {"kind": "rule"}
SERVER = {"kind": "openai", "model": "judge-7b", "base_url": "http://127.0.0.1:9/v1"}


@pytest.fixture
def toxicity(team: Team) -> Principle:
    return Principle.objects.get(team=team, name="toxicity")


class FakeJudge:
    """Answers what it was made with, and remembers what it was asked."""

    def __init__(self, answer: Verdict | Exception | None) -> None:
        self.answer, self.asked, self.key = answer, [], ""  # type: ignore[var-annotated]

    async def compare(self, items: Sequence[PairQuestion], on_verdict: object = None) -> list[Verdict]:
        self.asked.extend(items)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.sleep(30)
        assert self.answer
        return [self.answer]


def use(monkeypatch: pytest.MonkeyPatch, answer: Verdict | Exception | None) -> FakeJudge:
    judge = FakeJudge(answer)

    def make(settings: object, key: str) -> FakeJudge:
        judge.key = key
        return judge
    monkeypatch.setattr(trial, "make_judge", make)
    return judge


def ask(client: Client, principle: Principle, htmx: bool = True, **fields: str) -> str:
    headers = {"HX-Request": "true"} if htmx else {}
    answer = client.post(reverse("principles:try", args=[principle.pk]), trial.example() | fields, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_comes_with_an_example_that_can_be_tried_at_once(owner_client: Client, toxicity: Principle) -> None:
    form = owner_client.get(reverse("principles:detail", args=[toxicity.pk])).context["form"]

    page = ask(owner_client, toxicity, **form.initial)

    assert "A is less toxic" in page
    assert "label-bar hue-toxicity" in page


@pytest.mark.parametrize("name", ["factuality", "sycophancy", "conciseness"])
def test_the_example_differs_on_the_main_principles(owner_client: Client, team: Team, name: str) -> None:
    page = ask(owner_client, Principle.objects.get(team=team, name=name), **RULE)

    assert "<strong>A is" in page


def test_without_javascript_the_whole_page_comes_back_with_the_label(owner_client: Client, toxicity: Principle) -> None:
    page = ask(owner_client, toxicity, htmx=False, **RULE)

    assert "<html" in page
    assert "Gap between the orders" in page


def test_a_principle_without_a_rule_says_which_have_one(owner_client: Client, team: Team) -> None:
    page = ask(owner_client, Principle.objects.get(team=team, name="bias"), **RULE)

    assert "no rule for" in page
    assert "sycophancy" in page


def test_both_orders_and_their_gap_are_shown(
    owner_client: Client, toxicity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = use(monkeypatch, verdict_from_orders(0.9, 0.54, tokens=321, model="judge-7b"))

    page = ask(owner_client, toxicity, **SERVER)

    assert "0.720" in page and "0.900" in page and "0.540" in page
    assert "sways this judge" in page
    assert judge.asked[0].statement == toxicity.versions.get().statement


def test_a_server_that_is_not_there_is_a_message(
    owner_client: Client, toxicity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, JudgeUnavailable("The server at http://127.0.0.1:9/v1 did not answer.", "Start it."))

    assert "did not answer. Check the server’s address" in ask(owner_client, toxicity, **SERVER)


def test_a_slow_server_is_not_waited_for(
    owner_client: Client, toxicity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, None)
    monkeypatch.setattr(trial, "PATIENCE", 0.05)

    assert "did not answer within" in ask(owner_client, toxicity, **SERVER)


def test_the_key_comes_from_the_variable_that_is_named(
    owner_client: Client, toxicity: Principle, monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = use(monkeypatch, verdict_from_orders(0.9, 0.9, 1, "m"))
    assert "CONCORD_JUDGE_KEY is not set" in ask(owner_client, toxicity, **SERVER, api_key_env="CONCORD_JUDGE_KEY")

    monkeypatch.setenv("CONCORD_JUDGE_KEY", "sesame-1234")
    page = ask(owner_client, toxicity, **SERVER, api_key_env="CONCORD_JUDGE_KEY")

    assert judge.key == "sesame-1234"
    assert "sesame-1234" not in page


@pytest.mark.parametrize(("fields", "message"), [
    ({"kind": "openai", "model": ""}, "needs the model"),
    (SERVER | {"api_key_env": "HOME"}, "api_key_env"),
    (SERVER | {"api_key_env": "OPENAI_API_KEY"}, "sent to https://api.openai.com only"),
    (SERVER | {"base_url": "file:///etc/passwd"}, "is no web address"),
    (RULE | {"prompt": " "}, "required"),
    (RULE | {"a": "x" * 20_001}, "20000"),
])
def test_what_cannot_be_asked_is_refused_at_its_field(
    owner_client: Client, toxicity: Principle, fields: dict[str, str], message: str,
) -> None:
    page = ask(owner_client, toxicity, **fields)

    assert message in page
    assert 'class="errors"' in page


def test_a_stored_pair_can_be_tried_and_another_teams_cannot(
    owner_client: Client, stranger_client: Client, toxicity: Principle, team: Team, other_team: Team,
) -> None:
    pair = Pair.objects.create(team=team, digest="0" * 32, excerpt="Is it so?")
    PairText.objects.create(pair=pair, prompt=[{"role": "user", "content": "Is it so?"}], response_a="Yes.",
                            response_b="No.")
    address = reverse("principles:detail", args=[toxicity.pk])

    form = owner_client.get(address, {"pair": pair.pk}).context["form"]
    theirs = reverse("principles:detail", args=[Principle.objects.filter(team=other_team)[0].pk])

    assert (form.initial["a"], form.initial["b"]) == ("Yes.", "No.")
    assert "Is it so?" in form.initial["prompt"]
    assert stranger_client.get(theirs, {"pair": pair.pk}).status_code == 404
