"""The quality cards on the run page: each principle's, whatever stage trained it, and nothing before there is one."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.webapp.runs.seeds import fill, make_run
from webapp.accounts.models import Team, User
from webapp.principles.models import Principle
from webapp.runs.models import Run, Stage
from webapp.runs.page.quality_cards import model_cards

pytestmark = pytest.mark.django_db


def named(name: str) -> Principle:
    return Principle(name=name)


def stage(kind: str, summary: dict[str, object], principle: str = "") -> Stage:
    return Stage(kind=kind, principle=principle, summary=summary)


def test_a_card_shows_accuracy_people_calibration_and_length(owner_client: Client, team: Team, owner: User) -> None:
    made, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 10)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    for words in ("each model is a separate adapter", "60% to 78%, 84 pairs", "the judge: 74%",
                  "2.0% at temperature 1.40", "−0.31", "−0.44", "60 pairs: 96% sure, 91% agreed",
                  'cx="92.0" cy="18.0"', "510"):
        assert words in page, words
    assert page.count('class="reliability ') == len([s for s in stages.values() if s.kind == "preference_model"])


def test_before_any_is_trained_the_page_says_so(owner_client: Client, team: Team, owner: User) -> None:
    made, _ = make_run(team, owner)
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    assert "No preference model is trained yet." in page and "quality-table" not in page


def test_the_heads_of_a_shared_trunk_have_a_card_each_in_the_recipes_order() -> None:
    cards = {"empathy": {"head": 1, "accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "decided": 50},
             "toxicity": {"head": 0, "accuracy": 0.52, "accuracy_low": 0.4, "accuracy_high": 0.6, "decided": 50}}
    cards_shown = model_cards([stage("preference_model", {"architecture": "shared_trunk", "cards": cards})], named)
    assert [card.principle.name for card in cards_shown if card.principle] == ["toxicity", "empathy"]
    assert [card.accuracy.may_be_chance for card in cards_shown if card.accuracy] == [True, False]


def test_the_most_alike_is_the_strongest_correlation_whatever_its_sign() -> None:
    weights = {"correlations": {"detail": {"empathy": 0.3, "conciseness": -0.8}, "empathy": {}}}
    stages = [stage("preference_model", {"accuracy": 0.5}, "detail"), stage("preference_model", {"mean": 1}, "empathy"),
              stage("weights", weights)]
    detail, empathy = model_cards(stages, named)
    assert detail.most_alike is not None and detail.most_alike[0] is not None
    assert (detail.most_alike[0].name, detail.most_alike[1]) == ("conciseness", -0.8)
    assert empathy.most_alike is None and detail.accuracy is None and detail.human is None


def test_a_curve_worse_than_chance_stays_in_its_picture() -> None:
    row = {"low": 0.5, "high": 0.6, "n": 4, "confidence": 0.55, "agreed": 0.2}
    [card] = model_cards([stage("preference_model", {"reliability": [row]}, "detail")], named)
    assert (card.bins[0].x, card.bins[0].y) == (pytest.approx(10), 100) and "20% agreed" in card.bins[0].title


def test_a_learning_curve_says_whether_more_labels_would_help(owner_client: Client, team: Team, owner: User) -> None:
    made, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 10)
    points = [{"labels": labels, "accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.05}
              for labels, accuracy in ((64, 0.6), (128, 0.7), (255, 0.8), (510, 0.9))]
    models = [model_stage for model_stage in stages.values() if model_stage.kind == "preference_model"]
    for model_stage, p in zip(models, (0.01, 0.4), strict=False):
        model_stage.summary |= {"learning_curve": points, "last_doubling": {"won": 9, "lost": 1, "p": p}}
        model_stage.save()
    page = owner_client.get(f"/runs/{made.pk}/").content.decode()
    for words in ("Would more labels help?", "50% to 65%, 64 labels", "80% to 95%, 510 labels",
                  "9 pairs gained, 1 lost", "more labels may help further", "more labels may not help"):
        assert words in page, words


def test_without_a_learning_curve_the_card_does_not_speak_of_one(owner_client: Client, team: Team, owner: User) -> None:
    made, stages = make_run(team, owner, until="nothing", status=Run.Status.SUCCEEDED)
    fill(stages, 10)
    assert "Would more labels help?" not in owner_client.get(f"/runs/{made.pk}/").content.decode()
