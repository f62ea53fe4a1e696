"""Fitted weights on the page of a run: the weight, its interval, and what leaving a principle out costs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.webapp.runs.seeds import make_run
from webapp.accounts.models import Team, User
from webapp.runs.models import Stage

FITTED: dict[str, Any] = {
    "mode": "fitted", "n": 300, "weights": {"factuality": 0.8, "toxicity": -0.2},
    "given": {"factuality": 0.5, "toxicity": 0.5}, "intervals": {"factuality": [0.7, 0.95], "toxicity": [-0.3, 0.05]},
    "ablation": {"accuracy": {"value": 0.74, "low": 0.69, "high": 0.79, "n": 290}, "orders": 2,
                 "alone": {"factuality": 0.21, "toxicity": 0.004},
                 "in_orders": {"factuality": 0.225, "toxicity": 0.01}},
}


def page_of(owner_client: Client, team: Team, owner: User, summary: dict[str, Any]) -> str:
    run, stages = make_run(team, owner)
    Stage.objects.filter(pk=stages["weights"].pk).update(summary=summary)
    return owner_client.get(f"/runs/{run.pk}/").content.decode()


def test_fitted_weights_stand_with_their_intervals_and_costs(owner_client: Client, team: Team, owner: User) -> None:
    page = page_of(owner_client, team, owner, FITTED)
    for words in ("Weights fitted to 300 human choices", "74% of the decided choices correctly (69% to 79%, n = 290",
                  "0.70 to 0.95", "21.0 points", "22.5 points", "over 2 orders"):
        assert words in page, words
    assert page.count("sign reversed") == 1


@pytest.mark.parametrize("summary", [{}, {"mode": "set", "weights": {"factuality": 1.0}}])
def test_weights_that_a_person_set_need_no_such_table(summary: dict[str, Any], owner_client: Client, team: Team,
                                                       owner: User) -> None:
    assert "Weights fitted to" not in page_of(owner_client, team, owner, summary)


def test_weights_fitted_before_there_were_intervals_are_shown_without(owner_client: Client, team: Team,
                                                                       owner: User) -> None:
    old = {key: value for key, value in FITTED.items() if key not in {"intervals", "ablation"}}
    page = page_of(owner_client, team, owner, old)
    assert "Weights fitted to 300 human choices" in page and "points</td>" not in page
