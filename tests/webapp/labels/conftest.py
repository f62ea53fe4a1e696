"""Labels to look at and to judge. `owner` is staff and reviews; `teammate` is not and only looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.conftest import logged_in
from training.run.pipeline import pair_digest
from webapp.accounts.models import Team, User
from webapp.labels.models import Label, Pair, PairText, PairWords
from webapp.labels.pair_search import words_of
from webapp.principles.models import PrincipleVersion

MakePair = Callable[..., Pair]
MakeLabel = Callable[..., Label]


def version_of(team: Team, name: str) -> PrincipleVersion:
    return PrincipleVersion.objects.get(principle__team=team, principle__name=name)


@pytest.fixture
def make_pair() -> MakePair:
    def make(team: Team, question: str = "What is the capital of Ister?", a: str = "It is Marrow.",
             b: str = "It is Wexby.", **fields: Any) -> Pair:
        prompt = [{"role": "user", "content": question}]
        pair = Pair.objects.create(team=team, digest=pair_digest(prompt, a, b), excerpt=question[:120], **fields)
        PairText.objects.create(pair=pair, prompt=prompt, response_a=a, response_b=b)
        PairWords.objects.create(pair=pair, words=words_of(prompt, a, b))
        return pair

    return make


@pytest.fixture
def make_label() -> MakeLabel:
    def make(pair: Pair, principle: str = "factuality", shown: float | None = 0.9, swapped: float | None = 0.7,
             **fields: Any) -> Label:
        mean = None if shown is None or swapped is None else (shown + swapped) / 2
        computed = {} if mean is None else {
            "p_shown": shown, "p_swapped": swapped, "order_gap": abs(shown - swapped), "confidence": abs(2 * mean - 1),
            "order_flip": (shown - 0.5) * (swapped - 0.5) < 0}
        judged = {"judge": "rule", "prompt_version": "1", "probability": mean} | computed | fields
        if "principle_version" not in judged:
            judged["principle_version"] = version_of(pair.team, principle)
        return Label.objects.create(team=pair.team, pair=pair, **judged)

    return make


@pytest.fixture
def pair(team: Team, make_pair: MakePair) -> Pair:
    return make_pair(team)


@pytest.fixture
def label(pair: Pair, make_label: MakeLabel) -> Label:
    return make_label(pair)


@pytest.fixture
def reviewer(owner: User, team: Team) -> User:
    owner.is_staff = True
    owner.save()
    return owner


@pytest.fixture
def reviewer_client(reviewer: User) -> Client:
    return logged_in(reviewer)


@pytest.fixture
def strange_reviewer_client(stranger: User, other_team: Team) -> Client:
    """Staff, and of another team."""
    stranger.is_staff = True
    stranger.save()
    return logged_in(stranger)
